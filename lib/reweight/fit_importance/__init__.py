"""Fits the importance methods on samples, on executors."""
