"""Exports scorers that need no Spark, and rows with weights for other trainers.

spark-submit jobs/export.py conf/demo.yaml [exporting.rows=true] [key=value ...]
"""

from reweight.runner.job import main
from reweight.serving.export.stage import export

if __name__ == "__main__":
    main(export)
