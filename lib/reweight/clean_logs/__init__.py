"""The stage clean_logs: raw logs -> events and rejected lines."""
