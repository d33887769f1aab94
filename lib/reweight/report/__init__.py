"""The pages of a run, and the plots and tables on them."""
