"""The benchmarks: which methods find planted damage, and which help under which condition."""
