"""Position bias: the label rate of the same thing at different positions.

The raw rate falls with the position also because what is good is ranked high. So rows are compared
within strata of one thing (an item), by Mantel and Haenszel's ratio (module rates). Groups have
rows at all places, so that what their rows have in common falls out of a ratio of places. Positions
with few rows are pooled with their neighbours to one place, which is named by its first position.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from reweight.diagnose.findings import Finding, Values
from reweight.diagnose.rates import Estimate, log_ratio, share, two_rates

NAME = "position bias"
# The rate at the last position, as a part of that at the first: above, the bias is no matter.
MATERIAL = 0.8
# Positions are pooled to places that begin in different hundredths of the rows, so that those of a
# hundredth and more stand alone; what is left with fewer than this is not compared.
_PLACES, _LEAST_SHARE = 100, 0.005

_Sums = dict[str, dict[int, Estimate]]
# First position of a place -> (rows, positives), ascending.
_Rates = dict[int, tuple[float, float]]


def position_bias(mature: DataFrame, fields: Sequence[str]) -> Finding:
    """How much less the same thing is chosen far down.

    Args:
        mature: samples with ``position``, ``label`` and ``ids``, [F] numbers of things.
        fields: what the things are, [F].
    """
    bands = _bands(mature)
    compared = bands[bands["n"] >= _LEAST_SHARE * bands["n"].sum()]
    if len(compared) < 2:
        return Finding(
            NAME,
            "The samples have no position, or one only.",
            needs="the place of a sample in its list, as sampling.keep.position",
        )
    places = _places(compared)
    first, last = min(places), max(places)
    raw = {
        k: found for k, (n, y) in places.items() if (found := two_rates(y, n, *places[first][::-1]))
    }
    if not fields:
        return Finding(
            NAME,
            "The rate by position is there, but nothing to compare the same thing by.",
            points=_points(places, {}, raw),
            needs="the item, as one of features.categorical",
        )
    all_strata = _strata(mature, fields, bands, compared)
    strata = {name: own for name, own in all_strata.items() if last in own}
    if not strata:
        return Finding(
            NAME,
            "The last or the first position has no positive label to compare.",
            points=_points(places, {}, raw),
            needs="more rows",
        )
    # The ids that leave the least of the effect are those that explain most of the raw one.
    name = min(strata, key=lambda field: abs(strata[field][last].value))
    ratios = strata[name]
    found = ratios[last]
    falls = found.p_beyond(-math.log(MATERIAL)) if found.value < 0 else 1.0
    exponent = _exponent(ratios, first)
    measures = [found.measure_ratio(f"ratio of position {last} to {first}, within {name}")]
    if last in raw:
        measures.append(raw[last].measure_ratio(f"ratio of position {last} to {first}, raw"))
    measures.append(exponent.measure("as if seen with probability position^-e, e"))
    text = f"Rows of the same {name} have {math.exp(found.value):.2f} times the label rate at "
    text += f"position {last} that they have at position {first}."
    return Finding(NAME, text, falls, tuple(measures), _points(places, ratios, raw))


def _bands(mature: DataFrame) -> pd.DataFrame:
    """Rows ``n`` and positives ``y`` of each place, by its first position."""
    positions = mature.where("position IS NOT NULL").groupBy("position")
    sums = positions.agg(F.count("*").cast("double").alias("n"), F.sum("label").alias("y"))
    before = F.sum("n").over(Window.orderBy("position")) - F.col("n")
    band = F.floor(before * _PLACES / F.sum("n").over(Window.partitionBy()))
    totals = [F.min("position").alias("position"), F.sum("n").alias("n"), F.sum("y").alias("y")]
    # Small by nature: at most 100 places.
    found = sums.withColumn("band", band).groupBy("band").agg(*totals).toPandas()
    return found.drop(columns="band").set_index("position").sort_index()


def _places(compared: pd.DataFrame) -> _Rates:
    """Rows and positives of each place."""
    return {int(k): (n, y) for k, n, y in compared[["n", "y"]].itertuples()}


def _strata(
    mature: DataFrame, fields: Sequence[str], bands: pd.DataFrame, compared: pd.DataFrame
) -> _Sums:
    """Name of the ids -> place -> log ratio to the first place within equal ids."""
    begins, first = F.lit([int(k) for k in bands.index]), int(compared.index[0])
    place = F.array_max(F.filter(begins, lambda begin: begin <= F.col("position")))
    cells = (
        mature.withColumn("position", place)
        .where(F.col("position").isin([int(k) for k in compared.index]))
        .select("position", "label", F.posexplode("ids").alias("field", "stratum"))
        .groupBy("field", "stratum", "position")
        .agg(F.count("*").alias("n1"), F.sum("label").alias("a"))
    )
    own = Window.partitionBy("field", "stratum")
    at_first = F.col("position") == first
    n0, c = (F.sum(F.when(at_first, F.col(x))).over(own) for x in ("n1", "a"))
    a, n1, both = F.col("a"), F.col("n1"), F.col("n1") + F.col("n0")
    sums = (
        cells.select("*", n0.alias("n0"), c.alias("c"))
        .where((F.col("n0") > 0) & ~at_first)
        .groupBy("field", "position")
        .agg(
            F.sum(a * F.col("n0") / both).alias("r"),
            F.sum(F.col("c") * n1 / both).alias("s"),
            F.sum(n1 * F.col("n0") * (a + F.col("c")) / both**2 - a * F.col("c") / both).alias("v"),
        )
    )
    found: _Sums = {name: {} for name in fields}
    # Small by nature: fields times at most 100 positions.
    for row in sorted(sums.collect()):
        if estimate := log_ratio(row["r"], row["s"], row["v"]):
            found[fields[row["field"]]][row["position"]] = estimate
    return found


def _exponent(ratios: dict[int, Estimate], first: int) -> Estimate:
    """e of log ratio_k = -e log(k - first + 1), least squares through 0 weighted by precision."""
    x = np.array([math.log(k - first + 1) for k in ratios])
    y = np.array([-r.value for r in ratios.values()])
    w = np.array([1 / max(r.error, 1e-6) ** 2 for r in ratios.values()])
    information = float((w * x * x).sum())
    return Estimate(float((w * x * y).sum()) / information, 1 / math.sqrt(information))


def _points(places: _Rates, ratios: dict[int, Estimate], raw: dict[int, Estimate]) -> Values:
    def drawn(own: dict[int, Estimate]) -> list[list[float | None]]:
        found = [(k, r.measure_ratio("")) for k, r in own.items()]
        return [[k, m.value, m.low, m.high] for k, m in found]

    rates = [(k, share("", y, n)) for k, (n, y) in places.items()]
    return {
        "rate": [[k, m.value, m.low, m.high] for k, m in rates],
        "within": drawn(ratios),
        "raw": drawn({k: r for k, r in raw.items() if k != min(places)}),
    }
