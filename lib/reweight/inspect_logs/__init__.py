"""A doctor for raw logs: a sample of them is read, and the config that reads them is proposed."""
