"""Logs runs to experiment trackers: MLflow, TensorBoard, Weights & Biases."""
