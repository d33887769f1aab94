"""Builds samples from events: label, split, features.

spark-submit jobs/build_samples.py conf/demo.yaml [key=value ...]
"""

from reweight.build_samples.stage import build_samples
from reweight.runner.job import main

if __name__ == "__main__":
    main(build_samples)
