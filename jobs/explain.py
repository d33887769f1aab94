"""Attributes the importance of rows to features; run it after fit_importance.

spark-submit jobs/explain.py conf/demo.yaml [explaining.sample_id=...] [key=value ...]
"""

from reweight.explain.stage import explain
from reweight.runner.job import main

if __name__ == "__main__":
    main(explain)
