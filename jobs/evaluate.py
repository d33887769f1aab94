"""Measures the rankers and the weights, with intervals.

spark-submit jobs/evaluate.py conf/demo.yaml [key=value ...]
"""

from reweight.job import main
from reweight.stages.evaluate import evaluate

if __name__ == "__main__":
    main(evaluate)
