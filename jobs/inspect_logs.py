"""Reads a sample of raw logs, and prints a config that reads them, each guess with its evidence.

python jobs/inspect_logs.py PATH... [--format F] [--rows N] [--output FILE]
"""

# Not inspect.py: jobs/ comes first on sys.path, so it would hide Python's own module from all jobs.

import sys

from reweight.inspect_logs.command import main

if __name__ == "__main__":
    sys.exit(main())
