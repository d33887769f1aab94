"""Shows which faults of the labels are visible in a log; run it after build_samples.

spark-submit jobs/diagnose.py conf/demo.yaml [key=value ...]
"""

from reweight.diagnose.stage import diagnose
from reweight.runner.job import main

if __name__ == "__main__":
    main(diagnose)
