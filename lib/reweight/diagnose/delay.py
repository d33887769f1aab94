"""Delay: how long after its sample a label event arrives, and how many labels are still open."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.labels import time_unit
from reweight.core.columns import design_weight
from reweight.core.distribution import Distribution, distribution, quantile
from reweight.diagnose.clusters import counted, design_effect
from reweight.diagnose.findings import Finding, Measure
from reweight.diagnose.rates import p_above, share
from reweight.diagnose.settled import SETTLED

NAME, MISSING = "delayed labels", "missing labels"
# Delay is material if more than a tenth of the labels arrive after a quarter of the window ...
LATE_PART, LATE_SHARE = 0.25, 0.1
# ... or if more than this share of the rows had an open window when the log ended; without a label
# window, were too new for a settled label.
IMMATURE_SHARE = 0.2
_AFTER = {"an hour": 3600, "a day": 86_400, "a week": 604_800}
_CURVE = 100

# Bound -> effective numbers of (labels that arrive after it, all labels).
_Shares = dict[str, tuple[float, float]]


def delayed_labels(
    samples: DataFrame, window: int | None, own_time: bool, settles: float | None = None
) -> tuple[Finding, Finding]:
    """The findings on delayed and on missing labels.

    Args:
        samples: with ``group_id``, ``event_time``, ``label``, ``label_time``, ``mature``, ``split``
            and ``elapsed``.
        window: label window in seconds; None if it lasts until the end of the log.
        own_time: whether a label has a time of its own, unlike one that is a column of its row.
        settles: after how many seconds labels without a window are settled; None with a window.
    """
    begins = F.unix_seconds("event_time")
    span: Any = samples.agg(F.max(begins) - F.min(begins)).first()
    limit = LATE_PART * (window or max(1, span[0] or 0))
    immature = Measure("share of immature rows", _open(samples, settles))
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
    seconds = (F.unix_micros("label_time") - F.unix_micros("event_time")) / 1e6
    labels = samples.where((F.col("label") == 1) & F.col("mature") & seconds.isNotNull())
    shares = _later(labels, seconds, {"late": limit, **_AFTER})
    if not shares:
        unseen = Finding(
            NAME,
            "No mature sample is positive.",
            needs="the event that makes a sample positive, with its time, as sampling.label.where",
        )
        return unseen, missing
    points = distribution(labels, {"delay": seconds})["delay"]
    return _finding(shares, points, limit, immature, window, settles), missing


def _open(samples: DataFrame, settles: float | None) -> float:
    """The share of rows whose label was not settled when the log ended.

    Rows that train with the label as of a cut are not mature, but their window has closed.
    """
    is_open = F.col("split") == "immature"
    if settles is not None:
        begins, passed = F.unix_seconds("event_time"), F.col("elapsed") * time_unit(None)
        ends: Any = samples.agg(F.max(begins + passed)).first()
        is_open = begins + settles > ends[0]
    c = design_weight(samples)
    share_open: Any = samples.agg(F.sum(is_open.cast("double") * c) / F.sum(c)).first()
    return float(share_open[0])


def _later(labels: DataFrame, seconds: Column, bounds: Mapping[str, float]) -> _Shares:
    """How many labels arrive after each bound, of how many, in effective numbers."""
    after = [
        F.struct(F.lit(name).alias("bound"), (seconds > bound).cast("double").alias("label"))
        for name, bound in bounds.items()
    ]
    each = labels.select("group_id", F.inline(F.array(*after)))
    # Small by nature: four bounds.
    sums = counted(each, F.col("bound")).toPandas()
    shares = {}
    for bound, of_bound in sums.groupby("part"):
        effect = design_effect(of_bound)
        shares[str(bound)] = (
            float(of_bound["y"].sum()) / effect,
            float(of_bound["n"].sum()) / effect,
        )
    return shares


def _finding(
    shares: _Shares,
    points: Distribution,
    limit: float,
    immature: Measure,
    window: int | None,
    settles: float | None,
) -> Finding:
    late = shares["late"]
    after = f"share of labels after {limit / 3600:.3g} h"
    # The share of immature rows is counted, not estimated: its test is a plain comparison.
    tests = [
        (p_above(*late, LATE_SHARE), share(after, *late)),
        (0.0 if immature.value > IMMATURE_SHARE else 1.0, immature),
    ]
    (p, decides), (_, other) = sorted(tests, key=lambda test: test[0])
    p90 = quantile(points, 0.9) / 3600
    measures = (
        decides,
        *[
            share(f"share after {k}", *shares[k])
            for k, v in _AFTER.items()
            if v < (window or v + 1)
        ],
        *[
            Measure(f"{q:.0%} of the labels arrive within, h", quantile(points, q) / 3600)
            for q in (0.5, 0.9, 0.99)
        ],
        other,
    )
    text = f"Nine of ten labels arrive within {p90:.3g} h; {immature.value:.1%} of the rows "
    if settles is None:
        text += "had an open window when the log ended."
    else:
        text += f"are newer than {settles / 3600:.3g} h, in which {SETTLED:.0%} of the labels "
        text += "arrive. The label has no window, so negatives among them may become positive."
    shown = np.unique(np.linspace(0, len(points) - 1, _CURVE).astype(int))
    curve = [[points[i][0] / 3600, points[i][1]] for i in shown]
    return Finding(NAME, text, p, measures, {"curve": curve, "limit": limit / 3600})
