"""Exports a run's methods: scorers for other processes, and rows for other trainers."""
