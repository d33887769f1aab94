"""When a label is settled that has no label window.

``build_samples`` calls every row mature whose label event may still arrive at any time: negatives
are censored, the newest ones above all, so rates fall towards the end of the log. Here such a row
is mature if more time had passed when its label was taken than 99 % of the label events of the log
took. The rest of them hardly changes a rate.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.labels import time_unit
from reweight.build_samples.sampling import Label
from reweight.core.distribution import distribution, quantile

SETTLED = 0.99


def settling(samples: DataFrame, label: Label) -> float | None:
    """After how many seconds labels without a window are settled; None if they have one.

    Args:
        samples: with ``label`` and ``delay``.
        label: the section.
    """
    if not label.never_closes:
        return None
    arrived = samples.where("label = 1 AND delay IS NOT NULL")
    points = distribution(arrived, {"delay": F.col("delay")})["delay"]
    if not points:
        return None
    return quantile(points, SETTLED) * time_unit(None) + label.undo_window


def with_settled(samples: DataFrame, seconds: float | None) -> DataFrame:
    """The samples, ``mature`` only if their label is settled.

    Args:
        samples: with ``mature`` and ``elapsed``.
        seconds: the output of ``settling``.
    """
    if seconds is None:
        return samples
    # Rows before a cut have the label known at the cut, and the time that had passed by then.
    return samples.withColumn("mature", F.col("elapsed") * time_unit(None) >= seconds)


def more_rows(seconds: float | None) -> str:
    """What a log needs if it has too few mature rows."""
    if seconds is None:
        return "more labelled rows"
    hours = f"{seconds / 3600:.3g} h"
    return (
        f"rows older than the {hours} in which {SETTLED:.0%} of the labels arrive, since they have "
        "no window; or a shorter window, as sampling.label.window"
    )
