"""Delay: how long after its sample a label event arrives, and how many labels are still open."""

from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import stats

from reweight.core.distribution import Distribution, distribution, quantile
from reweight.diagnose.findings import Finding, Measure
from reweight.diagnose.rates import share

NAME, MISSING = "delayed labels", "missing labels"
# Delay is material if more than a tenth of the labels arrive after a quarter of the window ...
LATE_PART, LATE_SHARE = 0.25, 0.1
# ... or if more than this share of the rows had an open window when the log ended.
IMMATURE_SHARE = 0.2
_AFTER = {"an hour": 3600, "a day": 86_400, "a week": 604_800}
_CURVE = 100


def delayed_labels(
    samples: DataFrame, window: int | None, own_time: bool
) -> tuple[Finding, Finding]:
    """The findings on delayed and on missing labels.

    Args:
        samples: with ``event_time``, ``label``, ``label_time``, ``mature`` and ``split``.
        window: label window in seconds; None if it lasts until the end of the log.
        own_time: whether a label has a time of its own, unlike one that is a column of its row.
    """
    seconds = (F.unix_micros("label_time") - F.unix_micros("event_time")) / 1e6
    positive = F.col("mature") & (F.col("label") == 1)
    span: Any = samples.agg(
        F.max(F.unix_seconds("event_time")) - F.min(F.unix_seconds("event_time"))
    ).first()
    limit = LATE_PART * (window or max(1, span[0] or 0))
    counts: Any = samples.agg(
        F.count("*").alias("rows"),
        # Rows that train with the label as of a cut are not mature, but their window has closed.
        F.count(F.when(F.col("split") == "immature", 1)).alias("immature"),
        F.count(F.when(positive, seconds)).alias("positives"),
        *[
            F.count(F.when(positive & (seconds > bound), 1)).alias(name)
            for name, bound in {"late": limit, **_AFTER}.items()
        ],
    ).first()
    immature = Measure("share of immature rows", counts["immature"] / counts["rows"])
    missing = Finding(
        MISSING,
        "A purchase that was never recorded leaves no trace in the log.",
        measures=(immature,),
        needs="an independent record of purchases (payments, deliveries) for a random sample of "
        "users, joined to the samples: it shows which share of them the log lacks",
    )
    if not own_time:
        # Known with its row: no test is needed to say that it is not late.
        return Finding(NAME, "The label is a column of its own row: it has no delay.", 1.0), missing
    if not counts["positives"]:
        unseen = Finding(
            NAME,
            "No mature sample is positive.",
            needs="the event that makes a sample positive, with its time, as sampling.label.where",
        )
        return unseen, missing
    points = distribution(samples.where(positive), {"delay": seconds})["delay"]
    return _finding(counts, points, limit, immature, window), missing


def _finding(
    counts: Any, points: Distribution, limit: float, immature: Measure, window: int | None
) -> Finding:
    positives, late = counts["positives"], counts["late"]
    # The share of immature rows is counted, not estimated: its test is a plain comparison.
    open_windows = 0.0 if immature.value > IMMATURE_SHARE else 1.0
    p = min(float(stats.binom.sf(late - 1, positives, LATE_SHARE)), open_windows)
    p90 = quantile(points, 0.9) / 3600
    measures = (
        share(f"share of labels after {limit / 3600:.3g} h", late, positives),
        *[
            share(f"share after {k}", counts[k], positives)
            for k, v in _AFTER.items()
            if v < (window or v + 1)
        ],
        *[
            Measure(f"{q:.0%} of the labels arrive within, h", quantile(points, q) / 3600)
            for q in (0.5, 0.9, 0.99)
        ],
        immature,
    )
    text = f"Nine of ten labels arrive within {p90:.3g} h; {immature.value:.1%} of the rows had an "
    text += "open window when the log ended."
    shown = np.unique(np.linspace(0, len(points) - 1, _CURVE).astype(int))
    curve = [[points[i][0] / 3600, points[i][1]] for i in shown]
    return Finding(NAME, text, p, measures, {"curve": curve, "limit": limit / 3600})
