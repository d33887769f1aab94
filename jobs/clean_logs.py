"""Maps raw logs to typed events and rejected rows.

spark-submit jobs/clean_logs.py conf/demo.yaml [key=value ...]
"""

from reweight.job import main
from reweight.stages.clean_logs import clean_logs

if __name__ == "__main__":
    main(clean_logs)
