"""Simulates worlds with one fault each and measures which weights help their rankers.

spark-submit jobs/conditions.py conf/benchmark/conditions.yaml [key=value ...]
"""

from reweight.benchmark.conditions.stage import conditions_report, judge_conditions
from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import ConditionsConfig
from reweight.runner.job import main
from reweight.simulate_logs.stage import simulate_logs

if __name__ == "__main__":
    main(
        simulate_logs,
        clean_logs,
        build_samples,
        judge_conditions,
        conditions_report,
        config=ConditionsConfig,
    )
