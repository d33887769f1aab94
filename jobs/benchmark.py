"""Plants damage in public tables and compares how well the methods find it.

spark-submit jobs/benchmark.py conf/benchmark/published.yaml data_dir=/data [key=value ...]
"""

from reweight.config import BenchmarkConfig
from reweight.job import main
from reweight.stages.benchmark import benchmark, benchmark_report

if __name__ == "__main__":
    main(benchmark, benchmark_report, config=BenchmarkConfig)
