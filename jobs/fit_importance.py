"""Trains the importance methods on executors.

spark-submit jobs/fit_importance.py conf/demo.yaml [key=value ...]
"""

from reweight.job import main
from reweight.stages.fit_importance import fit_importance

if __name__ == "__main__":
    main(fit_importance)
