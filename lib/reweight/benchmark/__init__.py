"""The benchmarks: which methods find planted damage, and which help under which condition."""

from reweight.benchmark.detection.protocol import Benchmark

__all__ = ["Benchmark"]
