"""Scores every sample and turns importance into weights.

spark-submit jobs/score_weights.py conf/demo.yaml [key=value ...]
"""

from reweight.runner.job import main
from reweight.score_weights.stage import score_weights

if __name__ == "__main__":
    main(score_weights)
