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
    overrides, paths = ([a for a in arguments if ("=" in a) == has] for has in (True, False))
    if not paths:
        parser.error("expected a YAML file before the overrides")
    try:
        configs = [load_config(path, overrides) for path in paths]
    except ReweightError as error:
        print_error(error)
        sys.exit(2)
    run_ids = [config.run_id for config in configs]
    # Runs under several roots may have one name.
    names = [n if run_ids.count(n) == 1 else p for n, p in zip(run_ids, paths, strict=True)]
    folders = [RunFolder.of(config.root, config.run_id) for config in configs]
    print("\n".join(table(dict(zip(names, map(read_records, folders), strict=True)))))
