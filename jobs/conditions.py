"""Simulates worlds with one mechanism each and tells which weights help their rankers.

spark-submit jobs/conditions.py conf/benchmark/conditions.yaml [key=value ...]
"""

from reweight.config import ConditionsConfig
from reweight.job import main
from reweight.stages import build_samples, clean_logs, simulate_logs
from reweight.stages.conditions import conditions_report, judge_conditions

if __name__ == "__main__":
    main(
        simulate_logs,
        clean_logs,
        build_samples,
        judge_conditions,
        conditions_report,
        config=ConditionsConfig,
    )
