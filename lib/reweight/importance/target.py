"""Target rows: those that represent the distribution that matters, marked 1 in ``target``."""

from reweight.core.errors import TrainingError


def check_target(method: str, targets: float, rows: float, *, times: int | None = None) -> None:
    """Checks that some training rows are target rows, but not all.

    Args:
        method: the name of the method that needs target rows.
        targets: number of target rows.
        rows: number of training rows.
        times: 1 if all rows have one time, more if they differ; None if that is not known.

    Raises:
        TrainingError: no rows are, or all rows are.
    """
    if 0 < targets < rows:
        return
    same = targets > 0 and times == 1
    raise TrainingError(
        f"'{method}' has nothing to compare",
        expected="some target rows among the training rows, but not all of them",
        got=f"{targets:.0f} target rows of {rows:.0f}"
        + (": all rows have the same time, so none of them is newer" if same else ""),
        fix=(
            "name the target by a condition, such as splits: {target_where: \"country = 'de'\"}, "
            "or leave the method out"
            if same
            else "set splits.target to a share between 0 and 1, or splits.target_where to a "
            "condition that some rows meet, or leave the method out"
        ),
    )
