"""Rare segments: small ones whose label rate, or whose relation of features and label, differs.

A segment with opposite preferences may have the same label rate. So, besides the ratio of rates,
the score test of module relation checks whether a model of all rows holds for the segment.
"""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.diagnose import relation
from reweight.diagnose.clusters import counted, design_effect
from reweight.diagnose.findings import Finding, Measure, Values
from reweight.diagnose.rates import LEAST_POSITIVES, share, two_rates

NAME = "rare segments"
RARE_SHARE = 0.1
# Material: a rate 1.25 times that of the rest, or 1 / 1.25 of it; log odds that are off by 0.3.
RATE_RATIO, SHIFT = 1.25, 0.3
# Fewer groups do not show how much they vary.
_LEAST_GROUPS = 20
# How many segments are shown, and how many rare ones are tested, largest first.
_SHOWN, _TESTED = 50, 10

_Test = tuple[float, str, Measure]


def rare_groups(mature: DataFrame, judged: DataFrame | None) -> Finding:
    """Tests whether segments with few rows differ from the rest.

    Args:
        mature: samples with ``segment``, ``group_id`` and ``label``.
        judged: training rows from ``relation.crossed``, with ``segment``; None without a model.
    """
    sums = counted(mature.where("segment IS NOT NULL"), F.col("segment"))
    # Small by nature: the 50 largest segments.
    sizes = sums.orderBy(F.desc("n"), "part").limit(_SHOWN).toPandas().set_index("part")
    if len(sizes) < 2:
        return Finding(
            NAME,
            "The samples have only one segment.",
            needs="an expression for groups of users, items or places, as sampling.segment",
        )
    sizes = sizes.astype(float)
    sizes["effect"] = [design_effect(sizes.loc[[name]]) for name in sizes.index]
    rare = _rare(sizes)
    points = _points(sizes)
    tests = sorted([*_rates(sizes, rare), *_relations(judged, rare)], key=lambda test: test[0])
    if not tests:
        text = f"No segment with under {RARE_SHARE:.0%} of the rows has enough labels and groups."
        return Finding(NAME, text, 1.0, (), points)
    measures = tuple(measure for _, _, measure in tests)
    # The smallest of several p-values, with a Bonferroni correction within the finding.
    return Finding(NAME, tests[0][1], min(1.0, tests[0][0] * len(tests)), measures, points)


def _rare(sizes: pd.DataFrame) -> list[str]:
    """The rare segments with enough labels and groups to compare, largest first."""
    n, positives = sizes["n"], sizes["y"]
    enough = np.minimum(positives, n - positives) / sizes["effect"] >= LEAST_POSITIVES
    enough &= sizes["groups"] >= _LEAST_GROUPS
    return list(sizes.index[(n < RARE_SHARE * n.sum()) & enough])[:_TESTED]


def _rates(sizes: pd.DataFrame, rare: list[str]) -> list[_Test]:
    """p-value, sentence and measure of the ratio of rates of each rare segment."""
    tests = []
    for name in rare:
        parts = (sizes.loc[[name]], sizes.drop(name))
        # Effective numbers of positives and rows, of the segment and of the rest.
        effective = [float(p[k].sum()) / design_effect(p) for p in parts for k in ("y", "n")]
        if ratio := two_rates(*effective):
            # The design effect is an estimate, too: with few groups it may be too small by chance.
            groups = min(float(p["groups"].sum()) for p in parts)
            ratio = replace(ratio, freedom=max(1.0, groups - 1))
            text = f"'{name}' has {math.exp(ratio.value):.2f} times the label rate of the rest."
            measure = ratio.measure_ratio(f"ratio of rates, {name}")
            tests.append((ratio.p_beyond(math.log(RATE_RATIO)), text, measure))
    return tests


def _relations(judged: DataFrame | None, rare: list[str]) -> list[_Test]:
    """The same for the departure of each rare segment from the model of all rows."""
    if judged is None or not rare:
        return []
    by_segment = relation.scores(judged.where(F.col("segment").isin(rare)), "segment")
    tests = []
    for name, scores in sorted(by_segment.items()):
        if scores.enough():
            departure = relation.departure(scores, SHIFT)
            text = f"In '{name}' features and label relate differently than in all rows: the log "
            text += f"odds are off by {departure.size:.2f} (root mean square)."
            measure = Measure(f"departure of the log odds, {name}", departure.size)
            tests.append((departure.p, text, measure))
    return tests


def _points(sizes: pd.DataFrame) -> Values:
    effective = sizes[["n", "y"]].div(sizes["effect"], axis=0)
    rates = {str(k): share("", row["y"], row["n"]) for k, row in effective.iterrows()}
    return {
        "rates": [
            [k, m.value, m.low, m.high, int(n)]
            for (k, m), n in zip(rates.items(), sizes["n"], strict=True)
        ]
    }
