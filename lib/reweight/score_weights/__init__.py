"""Scores samples with the fitted models and turns importance into weights."""
