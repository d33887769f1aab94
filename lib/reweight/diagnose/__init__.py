"""Which faults that distort labels are visible in a log, and how strong they are.

Each fault has a module: aggregates on Spark, small frames on the driver, one finding. Every
test is against a material effect size rather than 0, so that a large log does not make trifles
visible.
"""

from reweight.diagnose.findings import Finding, Measure, content, lines

__all__ = ["Finding", "Measure", "content", "lines"]
