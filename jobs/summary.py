"""Prints a table of finished runs, one line each.

python jobs/summary.py conf/online_retail.yaml conf/otto.yaml data_dir=/data
"""

import argparse

from reweight.config import load_config
from reweight.core.run_folder import RunFolder, read_records
from reweight.report.summary import table

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="+", help="YAML files, and overrides as key=value")
    arguments = parser.parse_args().configs
    overrides = [a for a in arguments if "=" in a]
    configs = [load_config(a, overrides) for a in arguments if "=" not in a]
    runs = {c.run_id: read_records(RunFolder.of(c.root, c.run_id)) for c in configs}
    print("\n".join(table(runs)))
