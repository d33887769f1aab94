"""Writes the report of a run as one HTML page.

spark-submit jobs/report.py conf/demo.yaml [key=value ...]
"""

from reweight.job import main
from reweight.stages.report import report

if __name__ == "__main__":
    main(report)
