"""The methods that stand in every comparison, by name."""

# What every result is a difference to: all weights are 1.
BASELINE = "uniform"
# Weights that know nothing, and cost effective samples.
CONTROL = "random"
