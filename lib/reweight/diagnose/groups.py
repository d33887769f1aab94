"""Rare groups: segments with few rows whose label rate, or whose relation to it, is another.

A group that likes the opposite of what others like may have the same rate. So, beside the ratio of
rates, it is asked whether a model of all rows holds for the group (the score test of module
relation).
"""

import math

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.diagnose import relation
from reweight.diagnose.clusters import counted, design_effect
from reweight.diagnose.findings import Finding, Measure, Values
from reweight.diagnose.rates import share, two_rates

NAME = "rare groups"
RARE_SHARE = 0.1
# Material: a rate 1.25 times that of the rest or less than 1 / 1.25 of it; log odds 0.3 off.
RATE_RATIO, SHIFT = 1.25, 0.3
# Fewer say nothing, and the normal approximation does not hold for them.
_LEAST_POSITIVES = 10
# The largest are looked at, and of the rare ones the largest are tested.
_SHOWN, _TESTED = 50, 10

_Test = tuple[float, str, Measure]


def rare_groups(mature: DataFrame, judged: DataFrame | None) -> Finding:
    """How a segment with few rows differs from the rest.

    Args:
        mature: samples with ``segment``, ``group_id`` and ``label``.
        judged: training rows of ``relation.crossed``, with ``segment``; None for no model.
    """
    sums = counted(mature.where("segment IS NOT NULL"), F.col("segment"))
    # Small by nature: the 50 largest segments.
    sizes = sums.orderBy(F.desc("n"), "part").limit(_SHOWN).toPandas().set_index("part")
    if len(sizes) < 2:
        return Finding(
            NAME,
            "The samples have one segment only.",
            needs="an expression for groups of users, items or places, as sampling.segment",
        )
    sizes = sizes.astype(float)
    rows, positives = sizes["n"], sizes["y"]
    sizes["effect"] = [design_effect(sizes.loc[[name]]) for name in sizes.index]
    enough = np.minimum(positives, rows - positives) / sizes["effect"] >= _LEAST_POSITIVES
    rare = list(sizes.index[(rows < RARE_SHARE * rows.sum()) & enough])[:_TESTED]
    points = _points(sizes)
    tests = sorted([*_rates(sizes, rare), *_relations(judged, rare)], key=lambda test: test[0])
    if not tests:
        text = f"No segment with under {RARE_SHARE:.0%} of the rows has labels enough to compare."
        return Finding(NAME, text, 1.0, (), points)
    measures = tuple(measure for _, _, measure in tests)
    # The smallest of several p-values: Bonferroni within the finding.
    return Finding(NAME, tests[0][1], min(1.0, tests[0][0] * len(tests)), measures, points)


def _rates(sizes: pd.DataFrame, rare: list[str]) -> list[_Test]:
    """p, sentence and number of the ratio of rates of each rare segment."""
    tests = []
    for name in rare:
        parts = (sizes.loc[[name]], sizes.drop(name))
        # What the rows are worth, of the segment and of the rest.
        worth = [float(p[k].sum()) / design_effect(p) for p in parts for k in ("y", "n")]
        if ratio := two_rates(*worth):
            said = f"'{name}' has {math.exp(ratio.value):.2f} times the label rate of the rest."
            measure = ratio.measure_ratio(f"ratio of rates, {name}")
            tests.append((ratio.p_beyond(math.log(RATE_RATIO)), said, measure))
    return tests


def _relations(judged: DataFrame | None, rare: list[str]) -> list[_Test]:
    """The same of how far the relation of features and label is from that of all rows."""
    if judged is None or not rare:
        return []
    own = relation.scores(judged.where(F.col("segment").isin(rare)), "segment")
    tests = []
    for name, scores in sorted(own.items()):
        if scores.enough():
            found = relation.departure(scores, SHIFT)
            said = f"In '{name}' the features say another thing of the label than in all rows: log "
            said += f"odds are off by {found.size:.2f}, root mean square."
            measure = Measure(f"departure of the log odds, {name}", found.size)
            tests.append((found.p, said, measure))
    return tests


def _points(sizes: pd.DataFrame) -> Values:
    worth = sizes[["n", "y"]].div(sizes["effect"], axis=0)
    rates = {str(k): share("", row["y"], row["n"]) for k, row in worth.iterrows()}
    return {
        "rates": [
            [k, m.value, m.low, m.high, int(n)]
            for (k, m), n in zip(rates.items(), sizes["n"], strict=True)
        ]
    }
