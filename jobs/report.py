"""Writes the report of a run as one HTML page.

spark-submit jobs/report.py conf/demo.yaml [key=value ...]
"""

from reweight.report.stage import report
from reweight.runner.job import main

if __name__ == "__main__":
    main(report)
