"""Which mechanisms that spoil labels can be seen in a log, and how strong they are.

A module per mechanism: aggregates on Spark, small frames on the driver, one finding. Every test is
against a material size and not against none, so that a large log does not make trifles visible.
"""

from reweight.diagnose.findings import Finding, Measure, content, lines

__all__ = ["Finding", "Measure", "content", "lines"]
