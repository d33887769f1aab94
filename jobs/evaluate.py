"""Measures the rankers and the weights, with confidence intervals.

spark-submit jobs/evaluate.py conf/demo.yaml [key=value ...]
"""

from reweight.evaluate.stage import evaluate
from reweight.runner.job import main

if __name__ == "__main__":
    main(evaluate)
