"""Which weights are live: a challenger takes their place if it is better on the same rows."""
