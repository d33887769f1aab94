"""The names of the methods that every comparison includes."""

# Every result is a difference to this method: all its weights are 1.
BASELINE = "uniform"
# Weights without any information, which only lower the effective sample size.
CONTROL = "random"
# The baseline with its level repaired, which needs no weights: what a method must beat.
RECALIBRATED = "uniform_recalibrated"
