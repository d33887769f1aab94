"""Trains a weighted ranker per method.

spark-submit jobs/train_ranker.py conf/demo.yaml [key=value ...]
"""

from reweight.job import main
from reweight.stages.train_ranker import train_ranker

if __name__ == "__main__":
    main(train_ranker)
