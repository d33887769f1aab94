"""Plants wrong labels in public tables and compares how well the methods detect them.

spark-submit jobs/benchmark.py conf/benchmark/published.yaml data_dir=/data [key=value ...]
"""

from reweight.benchmark.detection.stage import benchmark, benchmark_report
from reweight.config import BenchmarkConfig
from reweight.runner.job import main

if __name__ == "__main__":
    main(benchmark, benchmark_report, config=BenchmarkConfig)
