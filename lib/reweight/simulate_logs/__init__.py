"""The stage simulate_logs: a simulated log whose truth is known."""
