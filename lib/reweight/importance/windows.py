"""Rows whose label window is open, and those that are settled (``mature``)."""

from reweight.errors import TrainingError


def check_windows(method: str, open_rows: int, settled_positives: int) -> None:
    """Demands rows with an open label window, and settled positives to learn from.

    Raises:
        TrainingError: there are none of them.
    """
    if not open_rows:
        raise TrainingError(
            f"'{method}' has no late labels to mend",
            expected="training rows whose label window is open at the cut",
            came="none: all training rows are settled",
            do="set splits to {by: time, open_windows: train}, or leave the method out",
        )
    if not settled_positives:
        raise TrainingError(
            f"'{method}' has no settled labels to learn from",
            expected="training rows with label 1 whose label window is over",
            came=f"none, and {open_rows} rows with an open one",
            do="use a log that is longer than sampling.label.window, or a shorter window",
        )
