"""Trains a ranker on the weights of each method."""
