"""Compares the days of a run with its reference window, and raises alarms."""
