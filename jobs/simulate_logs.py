"""Writes a simulated log with known truth.

spark-submit jobs/simulate_logs.py conf/demo.yaml [key=value ...]
"""

from reweight.runner.job import main
from reweight.simulate_logs.stage import simulate_logs

if __name__ == "__main__":
    main(simulate_logs)
