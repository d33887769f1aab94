"""The rankers: models that are trained on weighted samples."""
