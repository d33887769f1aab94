"""Metrics of the rankers with paired intervals, and statistics of the weights."""
