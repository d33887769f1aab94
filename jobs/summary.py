"""Prints a table of finished runs, one line each.

python jobs/summary.py conf/online_retail.yaml conf/otto.yaml data_dir=/data
"""

import argparse
import sys

from reweight.config import load_config
from reweight.core.errors import ReweightError
from reweight.core.logging import print_error
from reweight.core.run_folder import RunFolder, read_records
from reweight.report.summary import table

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="+", help="YAML files, and overrides as key=value")
    arguments = parser.parse_args().configs
    overrides = [a for a in arguments if "=" in a]
    try:
        configs = [load_config(a, overrides) for a in arguments if "=" not in a]
    except ReweightError as error:
        print_error(error)
        sys.exit(2)
    runs = {c.run_id: read_records(RunFolder.of(c.root, c.run_id)) for c in configs}
    print("\n".join(table(runs)))
