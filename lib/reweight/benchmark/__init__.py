"""The benchmark: which methods find the damage that was planted in public tables."""

from reweight.benchmark.detection.protocol import Benchmark

__all__ = ["Benchmark"]
