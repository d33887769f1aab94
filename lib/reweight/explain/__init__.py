"""What the importance of a run's rows is made of: contributions of features."""
