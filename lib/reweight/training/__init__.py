"""The training of importance models: runs under torch, without Spark."""
