"""The names of the methods that every comparison includes."""

# Every result is a difference to this method: all its weights are 1.
BASELINE = "uniform"
# Weights without any information, which only lower the effective sample size.
CONTROL = "random"
