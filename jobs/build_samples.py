"""Makes samples of events: label, split, features.

spark-submit jobs/build_samples.py conf/demo.yaml [key=value ...]
"""

from reweight.job import main
from reweight.stages.build_samples import build_samples

if __name__ == "__main__":
    main(build_samples)
