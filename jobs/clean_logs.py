"""Maps raw logs to typed events and rejected rows.

spark-submit jobs/clean_logs.py conf/demo.yaml [key=value ...]
"""

from reweight.clean_logs.stage import clean_logs
from reweight.runner.job import main

if __name__ == "__main__":
    main(clean_logs)
