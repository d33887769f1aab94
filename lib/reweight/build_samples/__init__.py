"""The stage build_samples: events -> samples with label, split and features."""
