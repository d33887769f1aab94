"""Target rows: those that represent the distribution that matters, marked 1 in ``target``."""

from reweight.core.errors import TrainingError


def check_target(method: str, targets: float, rows: float) -> None:
    """Checks that some training rows are target rows, but not all.

    Raises:
        TrainingError: no rows are, or all rows are.
    """
    if not 0 < targets < rows:
        raise TrainingError(
            f"'{method}' has nothing to compare",
            expected="some target rows among the training rows, but not all of them",
            got=f"{targets:.0f} target rows of {rows:.0f}",
            fix="set splits.target to a share between 0 and 1, or leave the method out",
        )
