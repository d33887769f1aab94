"""Searches k or lambda by the validation loss of the ranker.

spark-submit jobs/tune.py conf/demo.yaml [key=value ...]
"""

from reweight.runner.job import main
from reweight.tune.stage import tune

if __name__ == "__main__":
    main(tune)
