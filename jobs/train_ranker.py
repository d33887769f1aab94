"""Trains each ranker on the weights of each method.

spark-submit jobs/train_ranker.py conf/demo.yaml [key=value ...]
"""

from reweight.runner.job import main
from reweight.train_ranker.stage import train_ranker

if __name__ == "__main__":
    main(train_ranker)
