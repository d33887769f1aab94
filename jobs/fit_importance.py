"""Trains the importance methods on executors.

spark-submit jobs/fit_importance.py conf/demo.yaml [key=value ...]
"""

from reweight.fit_importance.stage import fit_importance
from reweight.runner.job import main

if __name__ == "__main__":
    main(fit_importance)
