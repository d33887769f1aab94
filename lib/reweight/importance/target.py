"""The target rows: those that stand for the distribution that matters, marked 1 in ``target``."""

from reweight.core.errors import TrainingError


def check_target(method: str, targets: float, rows: float) -> None:
    """Demands that some rows are target, and not all.

    Raises:
        TrainingError: none is, or all are.
    """
    if not 0 < targets < rows:
        raise TrainingError(
            f"'{method}' has nothing to compare",
            expected="training rows of which some, and not all, are target",
            got=f"{targets:.0f} target rows of {rows:.0f}",
            fix="set splits.target to a share between 0 and 1, or leave the method out",
        )
