"""Runs the whole pipeline: raw logs -> events -> samples -> weights -> rankers -> report.

spark-submit jobs/pipeline.py conf/demo.yaml [key=value ...]
"""

from reweight.runner.job import main
from reweight.runner.pipeline import PIPELINE

if __name__ == "__main__":
    main(*PIPELINE)
