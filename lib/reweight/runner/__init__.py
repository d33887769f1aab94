"""Runs stages: as jobs, as the pipeline, or from a notebook."""
