"""Drift of the label rate, of the features, and of the relation between the two.

Rate: chi-square over periods of equal length, on effective numbers of rows (module clusters);
periods with few rows are pooled with their neighbours.
Features: how well a classifier separates late training rows from early ones, on groups that it has
not seen (area under the ROC curve; Lopez-Paz and Oquab 2017), with a bootstrap over groups.
Relation: the score test of module relation on the difference between the late and the early half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.ml.functions import array_to_vector
from pyspark.ml.stat import Summarizer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.features import Features, is_padding, own_features
from reweight.diagnose import relation
from reweight.diagnose.clusters import counted, design_effect
from reweight.diagnose.findings import Finding, Measure
from reweight.diagnose.rates import Estimate, p_rates_vary, pooled, share
from reweight.diagnose.relation import bucket, drawn, fitted, vectors
from reweight.diagnose.settled import more_rows
from reweight.evaluate import bootstrap, metrics

Array = NDArray[np.float64]
RATE, FEATURES = "drift of the label rate", "drift of the features"
RELATION = "drift of the relation"
# Material: a spread of a tenth of the mean rate, an area of 0.55, a shift of 0.2 in the log odds.
RATE_SPREAD, AREA, SHIFT = 0.1, 0.55, 0.2
PERIODS = 20
_BUCKETS, _REPLICATES = 100, 500
_SHOWN = 6


@dataclass(frozen=True)
class Columns:
    """The features that the tests use.

    Attributes:
        names: names of all features, [D].
        steady: indices of the features that do not reveal the time by themselves, as history and
            calendar features do.
        seed: seed of the held-out groups and of the bootstrap.
    """

    names: tuple[str, ...]
    steady: tuple[int, ...]
    seed: int

    @property
    def used(self) -> tuple[int, ...]:
        """Indices of all features that are not padding."""
        return tuple(i for i, n in enumerate(self.names) if not is_padding(n))

    @property
    def modelled(self) -> tuple[int, ...]:
        """Indices of the label's predictors, without history, whose growth looks like drift."""
        return self.steady or self.used


def steady(names: tuple[str, ...], features: Features) -> tuple[int, ...]:
    """Indices of the features that are neither history nor calendar nor padding."""
    numeric = {
        name for feature in own_features(features) for name in (feature.name, feature.missing)
    }
    return tuple(
        place
        for place, name in enumerate(names)
        if name in numeric or name.partition("=")[0] in features.one_hot
    )


def rate_drift(mature: DataFrame, settles: float | None = None) -> Finding:
    """Tests whether the label rate is the same in periods of equal length.

    Args:
        mature: samples with ``event_time``, ``group_id`` and ``label``.
        settles: after how many seconds labels without a window are settled; None with a window.
    """
    seconds = F.unix_seconds("event_time")
    span: Any = mature.agg(F.min(seconds), F.max(seconds)).first()
    few = Finding(RATE, "There are too few rows of a class to compare.", needs=more_rows(settles))
    if span[0] is None:
        return few
    if span[0] == span[1]:
        return Finding(RATE, "All samples have the same time.", needs="the time of each event")
    length = (span[1] - span[0] + 1) / PERIODS
    # Small by nature: 20 periods.
    rows = counted(mature, F.floor((seconds - span[0]) / length)).toPandas().sort_values("part")
    n, y, days = _periods(rows, length / 86_400)
    freedom = float(rows["groups"].sum()) - len(rows)
    if len(n) < 2:
        return few
    rates = [share("", *pair) for pair in zip(y, n, strict=True)]
    q = y.sum() / n.sum()
    # The part of the variance between periods that chance does not explain.
    excess = float((n * (y / n - q) ** 2).sum() - (len(n) - 1) * q * (1 - q)) / n.sum()
    spread = Measure("relative spread of the rate over periods", max(0.0, excess) ** 0.5 / q)
    lowest, highest = (end(m.value for m in rates) for end in (min, max))
    text = f"The rate ranges from {lowest:.4f} to {highest:.4f} over {len(n)} periods."
    points = [[d, m.value, m.low, m.high] for d, m in zip(days.tolist(), rates, strict=True)]
    p = p_rates_vary(y, n, RATE_SPREAD, freedom)
    return Finding(RATE, text, p, (spread,), {"rates": points})


def _periods(rows: pd.DataFrame, length: float) -> tuple[Array, Array, Array]:
    """Effective rows and positives of each period, and its middle in days after the first sample.

    Periods with few rows are pooled with their neighbours.
    """
    effect = design_effect(rows)
    n, y = (rows[name].to_numpy(float) / effect for name in ("n", "y"))
    begins = pooled(y, n)
    middles = n * (rows["part"].to_numpy(float) + 0.5) * length
    n, y, middles = (np.add.reduceat(column, begins) for column in (n, y, middles))
    return n, y, middles / n


def feature_drift(halves: DataFrame, columns: Columns) -> Finding:
    """Tests whether the features of a training row reveal if it is early or late.

    Args:
        halves: training rows with ``late``, ``group_id`` and ``features``.
        columns: the features; the verdict depends on the steady ones only.
    """
    area, steady = (
        _area(halves, places, columns.seed) if places else None
        for places in (columns.used, columns.steady)
    )
    means = _moved(halves, columns)
    largest = ", ".join(f"{name} {moved:+.2f}" for name, moved in means[:_SHOWN])
    text = f"Largest differences, late minus early, in standard deviations: {largest}."
    everything = (area.measure("area under ROC, all features"),) if area else ()
    points = {"moved": [list(pair) for pair in means[: 2 * _SHOWN]]}
    if steady is None:
        return Finding(
            FEATURES,
            "All features are history or calendar, or a half has no rows or too few groups. "
            + text,
            None,
            everything,
            points,
            "features of the sample itself, as features.numeric or features.one_hot, and groups",
        )
    measures = (steady.measure("area under ROC without history and calendar"), *everything)
    return Finding(FEATURES, text, steady.p_beyond(AREA), measures, points)


def relation_drift(
    judged: DataFrame | None, names: Sequence[str], settles: float | None = None
) -> Finding:
    """Tests whether features and label relate differently in the late and the early half.

    Args:
        judged: the output of ``relation.crossed``, with ``late``.
        names: names of its features, [D].
        settles: after how many seconds labels without a window are settled; None with a window.
    """
    halves = relation.scores(judged, "late") if judged is not None else {}
    if len(halves) < 2:
        return Finding(
            RELATION,
            "The training rows have too few rows of a class, or only one time.",
            needs=more_rows(settles),
        )
    contrast = halves[1].less(halves[0])
    if not contrast.enough():
        return Finding(RELATION, "There are too few groups.", needs="more groups (users)")
    departure = relation.departure(contrast, SHIFT)
    strongest = sorted(zip(names, departure.signed, strict=True), key=lambda pair: -abs(pair[1]))
    largest = ", ".join(f"{name} {z:+.1f}" for name, z in strongest[:_SHOWN])
    text = "Largest changes in the effect of a feature, late minus early, in standard errors: "
    text += f"{largest}."
    size = Measure("shift of the log odds from early to late, root mean square", departure.size)
    return Finding(RELATION, text, departure.p, (size,))


def _area(halves: DataFrame, places: Sequence[int], seed: int) -> Estimate | None:
    """Area under the ROC curve of late against early, on groups unseen by the classifier."""
    rows = vectors(halves.withColumn("label", F.col("late").cast("float")), places)
    held_out = drawn(seed, "held") < 0.5
    train = rows.where(~held_out)
    sizes: Any = train.agg(F.count("*"), F.sum("label")).first()
    if not sizes[0] or not 0 < sizes[1] < sizes[0]:
        return None
    scored = fitted(train, sizes[0]).with_log_odds(rows.where(held_out), "z")
    # Bins of 0.05 in log odds, which are clipped at 10.
    bin_ = F.floor(F.least(F.greatest("z", F.lit(-10.0)), F.lit(10.0)) * 20) + 200
    sums = scored.groupBy(bucket(seed, _BUCKETS).alias("bucket"), bin_.alias("bin")).agg(
        F.count("*").alias("n"), F.sum("label").alias("y")
    )
    # Small by nature: 100 buckets times 401 bins.
    frame = sums.toPandas().astype(int)
    pos, neg = np.zeros((2, _BUCKETS, 401))
    where = (frame["bucket"].to_numpy(), frame["bin"].to_numpy())
    pos[where], neg[where] = frame["y"], frame["n"] - frame["y"]
    if min(pos.sum(), neg.sum()) == 0:
        return None
    return _resampled_auc(pos, neg, seed)


def _resampled_auc(pos: Array, neg: Array, seed: int) -> Estimate | None:
    """The area of counts by bucket and bin, [buckets, bins], with its bootstrap error.

    None if too few groups show how it varies.
    """
    rows = (pos + neg).sum(1)
    pos, neg, buckets = pos[rows > 0], neg[rows > 0], bootstrap.effective(rows)
    if buckets <= bootstrap.TOO_FEW:
        return None
    drawn = bootstrap.draws(len(pos), _REPLICATES, seed)
    area = float(metrics.auc(pos.sum(0), neg.sum(0)))
    error = bootstrap.standard_error(metrics.auc(drawn @ pos, drawn @ neg), buckets)
    return Estimate(area, error, buckets - 1)


def _moved(halves: DataFrame, columns: Columns) -> list[tuple[str, float]]:
    """Differences of means, late minus early, in pooled standard deviations; largest first."""
    vector = array_to_vector(F.col("features").cast("array<double>"))
    by_half = halves.select("late", vector.alias("v")).groupBy("late")
    summaries = by_half.agg(Summarizer.metrics("mean", "variance").summary(F.col("v")).alias("s"))
    # Small by nature: two rows of D means.
    parts = {int(row["late"]): row["s"] for row in summaries.collect()}
    if len(parts) < 2:
        return []
    early, late = parts[0], parts[1]
    deviation = np.sqrt((early["variance"].toArray() + late["variance"].toArray()) / 2)
    difference = late["mean"].toArray() - early["mean"].toArray()
    moved = np.divide(difference, deviation, out=np.zeros_like(difference), where=deviation > 1e-9)
    used = [(columns.names[i], float(moved[i])) for i in columns.used]
    return sorted(used, key=lambda pair: (-abs(pair[1]), pair[0]))
