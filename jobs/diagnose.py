"""Says which mechanisms that spoil labels are visible in a log, after build_samples.

spark-submit jobs/diagnose.py conf/demo.yaml [key=value ...]
"""

from reweight.job import main
from reweight.stages.diagnose import diagnose

if __name__ == "__main__":
    main(diagnose)
