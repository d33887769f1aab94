"""The stage daily: the log of a day in, its events, samples and weights out."""
