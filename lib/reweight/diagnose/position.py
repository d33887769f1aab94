"""Position bias: the label rate of the same item at different positions.

The raw rate also falls with the position because good items are ranked high. So rows are compared
within strata of one item, by the Mantel-Haenszel ratio (module rates). Groups have rows at all
positions, so what the rows of a group have in common cancels out of a ratio of positions. Positions
with few rows are pooled with their neighbours into a band, which is named by its first position.

Where negatives were sampled, a row counts as often as it stands for one of the whole log, c times:
n = sum c. That n is an estimate too, with the variance x = sum c (c - 1), which adds
sum_i (c_i^2 x1_i + a_i^2 x0_i) / N_i^2 to the V of the ratio.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from reweight.build_samples.shared_labels import LabelEvents
from reweight.core.columns import design_weight
from reweight.diagnose.findings import Finding, Measure, Values
from reweight.diagnose.rates import Estimate, log_ratio, share, two_rates

NAME = "position bias"
# Material: the rate at the last position is below this share of the rate at the first.
MATERIAL = 0.8
# Bands start in different hundredths of the rows, so positions with at least a hundredth of them
# stand alone; bands with less than this share of the rows are not compared.
_BANDS, _LEAST_SHARE = 100, 0.005

_Sums = dict[str, dict[int, Estimate]]
# First position of a band -> effective (rows, positives), ascending.
_Counts = dict[int, tuple[float, float]]


def position_bias(
    mature: DataFrame, fields: Sequence[str], labels: LabelEvents | None = None
) -> Finding:
    """How much less often the same item is chosen far down the list.

    Args:
        mature: samples with ``position``, ``label``, ``ids``, [F] numbers of items, and, if
            negatives were sampled, ``design_weight``.
        fields: names of the kinds of items, [F].
        labels: the label events of the samples; None if nothing is known of them.
    """
    finding = _within_items(mature, fields)
    if labels is None or not labels.shared or not finding.points:
        return finding
    text = (
        f"{labels.shared:,} of {labels.events:,} label events are shared by several samples of the "
        f"same {', '.join(labels.keys)}: each of these samples is positive, whichever was looked "
        "at, and that blurs the effect. ipw_position and doubly_robust need sampling: {label: "
        "{..., attribute: last}}, or the key of the sample in sampling.label.keys."
    )
    measure = Measure("share of label events that several samples share", labels.shared_share)
    return replace(finding, text=f"{finding.text} {text}", measures=(*finding.measures, measure))


def _within_items(mature: DataFrame, fields: Sequence[str]) -> Finding:
    bands = _bands(mature)
    compared = bands[bands["n"] >= _LEAST_SHARE * bands["n"].sum()]
    if len(compared) < 2:
        return Finding(
            NAME,
            "The samples have no position, or only one.",
            needs="the position of a sample in its list, as sampling.keep.position",
        )
    counts = _counts(compared)
    first, last = min(counts), max(counts)
    raw = {
        k: ratio for k, (n, y) in counts.items() if (ratio := two_rates(y, n, *counts[first][::-1]))
    }
    if not fields:
        return Finding(
            NAME,
            "The rate by position is known, but there are no items to compare within.",
            points=_points(counts, {}, raw),
            needs="the item, as one of features.categorical",
        )
    all_strata = _strata(mature, fields, bands, compared)
    strata = {name: ratios for name, ratios in all_strata.items() if last in ratios}
    if not strata:
        return Finding(
            NAME,
            "The last or the first position has no positive label to compare.",
            points=_points(counts, {}, raw),
            needs="more rows",
        )
    telling = _telling({name: ratios[last] for name, ratios in strata.items()})
    # The items that leave the smallest effect explain most of the raw one.
    name, ratio = min(telling.items(), key=lambda item: abs(item[1].value))
    ratios = strata[name]
    falls = ratio.p_beyond(-math.log(MATERIAL)) if ratio.value < 0 else 1.0
    exponent = _exponent(ratios, first, counts[first])
    measures = [ratio.measure_ratio(f"ratio of position {last} to {first}, within {name}")]
    if last in raw:
        measures.append(raw[last].measure_ratio(f"ratio of position {last} to {first}, raw"))
    measures.append(exponent.measure("e, if rows are seen with probability position^-e"))
    text = f"Within the same {name}, the label rate at position {last} is "
    text += f"{math.exp(ratio.value):.2f} times the rate at position {first}."
    if silent := ", ".join(field for field in strata if field not in telling):
        text += f" Too few rows share a {silent} to tell, so that this may be what they differ in."
    return Finding(NAME, text, falls, tuple(measures), _points(counts, ratios, raw))


def _telling(ratios: dict[str, Estimate]) -> dict[str, Estimate]:
    """The kinds of items without those that have too few rows in common to tell.

    Such a kind is near no effect by chance. Its interval holds the effect within the kind with the
    smallest error, and is so wide that it would hold no effect just as well.
    """
    surest = min(ratios.values(), key=lambda ratio: ratio.error)

    def tells(ratio: Estimate) -> bool:
        return max(abs(ratio.value - surest.value), abs(surest.value)) > ratio.reach

    return {name: r for name, r in ratios.items() if r is surest or tells(r)}


def _bands(mature: DataFrame) -> pd.DataFrame:
    """Rows ``n``, positives ``y`` and the variance ``x`` of each band, by its first position."""
    positions = mature.where("position IS NOT NULL").groupBy("position")
    sums = positions.agg(*_counted(mature, "n", "y"))
    before = F.sum("n").over(Window.orderBy("position")) - F.col("n")
    # Above the rounding of sums, whose order is the machine's.
    band = F.floor(before * _BANDS / F.sum("n").over(Window.partitionBy()) + 1e-9)
    totals = [F.min("position").alias("position"), *[F.sum(k).alias(k) for k in ("n", "y", "x")]]
    # Small by nature: at most 100 bands.
    bands = sums.withColumn("band", band).groupBy("band").agg(*totals).toPandas()
    return bands.drop(columns="band").set_index("position").sort_index()


def _counted(rows: DataFrame, n: str, y: str) -> list[Column]:
    """Rows, positives, and the variance ``x`` of a number of rows that sampling estimates."""
    c = design_weight(rows)
    return [
        F.sum(c).alias(n),
        F.sum("label").cast("double").alias(y),
        F.sum(c * (c - 1)).alias("x"),
    ]


def _counts(compared: pd.DataFrame) -> _Counts:
    """Effective rows and positives of each band: fewer where the rows are an estimate, too."""
    n, y, x = (compared[name] for name in ("n", "y", "x"))
    effect = 1 + y / n * x / (n - y).clip(lower=1)
    effective = pd.DataFrame({"n": n / effect, "y": y / effect})
    return {int(k): (rows, hits) for k, rows, hits in effective.itertuples()}


def _strata(
    mature: DataFrame, fields: Sequence[str], bands: pd.DataFrame, compared: pd.DataFrame
) -> _Sums:
    """Kind of item -> band -> log ratio to the first band within the same item."""
    begins, first = F.lit([int(k) for k in bands.index]), int(compared.index[0])
    band = F.array_max(F.filter(begins, lambda begin: begin <= F.col("position")))
    grouped = (
        mature.withColumn("position", band)
        .where(F.col("position").isin([int(k) for k in compared.index]))
        .withColumn("design_weight", design_weight(mature))
        .select("position", "label", "design_weight", F.posexplode("ids").alias("field", "stratum"))
        .groupBy("field", "stratum", "position")
    )
    cells = grouped.agg(*_counted(mature, "n1", "a"))
    same_stratum = Window.partitionBy("field", "stratum")
    at_first = F.col("position") == first
    n0, c, x0 = (F.sum(F.when(at_first, F.col(x))).over(same_stratum) for x in ("n1", "a", "x"))
    a, n1, both = F.col("a"), F.col("n1"), F.col("n1") + F.col("n0")
    sampled = (F.col("c") ** 2 * F.col("x") + a**2 * F.col("x0")) / both**2
    variance = n1 * F.col("n0") * (a + F.col("c")) / both**2 - a * F.col("c") / both + sampled
    sums = (
        cells.select("*", n0.alias("n0"), c.alias("c"), x0.alias("x0"))
        .where((F.col("n0") > 0) & ~at_first)
        .groupBy("field", "position")
        .agg(
            F.sum(a * F.col("n0") / both).alias("r"),
            F.sum(F.col("c") * n1 / both).alias("s"),
            F.sum(variance).alias("v"),
        )
    )
    ratios: _Sums = {name: {} for name in fields}
    # Small by nature: fields times at most 100 bands.
    for row in sorted(sums.collect()):
        if estimate := log_ratio(row["r"], row["s"], row["v"]):
            ratios[fields[row["field"]]][row["position"]] = estimate
    return ratios


def _exponent(ratios: dict[int, Estimate], first: int, at_first: tuple[float, float]) -> Estimate:
    """e of log ratio_k = -e log(k - first + 1), by generalised least squares through 0.

    All ratios share the positives of the first band, so they err together.

    Args:
        ratios: band -> log ratio to the first band.
        first: the first band.
        at_first: its effective rows and positives.
    """
    n, y = at_first
    x = np.array([math.log(k - first + 1) for k in ratios])
    z = np.array([-r.value for r in ratios.values()])
    variances = np.array([max(r.error, 1e-6) ** 2 for r in ratios.values()])
    shared = min(1 / y - 1 / n, 0.999 * variances.min())
    w = np.linalg.solve(np.diag(variances - shared) + shared, x)
    return Estimate(float(w @ z / (w @ x)), float(w @ x) ** -0.5)


def _points(counts: _Counts, ratios: dict[int, Estimate], raw: dict[int, Estimate]) -> Values:
    def drawn(estimates: dict[int, Estimate]) -> list[list[float | None]]:
        measures = [(k, r.measure_ratio("")) for k, r in estimates.items()]
        return [[k, m.value, m.low, m.high] for k, m in measures]

    rates = [(k, share("", y, n)) for k, (n, y) in counts.items()]
    return {
        "rate": [[k, m.value, m.low, m.high] for k, m in rates],
        "within": drawn(ratios),
        "raw": drawn({k: r for k, r in raw.items() if k != min(counts)}),
    }
