"""Statistics of a run's weights: effective sample size, quantiles, and what drives them."""

import json
from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
from pyspark.ml.functions import array_to_vector
from pyspark.ml.stat import Correlation
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.distribution import Distribution, quantile
from reweight.core.hashing import uniform

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
# Enough rows for a correlation that is exact to two digits.
_SAMPLE = 50_000
_SHOWN_ROWS, _SHOWN_FEATURES, _SHOWN_SEGMENTS = 50, 6, 20


def weight_sums(train: DataFrame, methods: list[str]) -> Any:
    """Sums over the training rows, in one pass: ``n``, and four of each method.

    Args:
        train: training rows with a column of weights per method.
        methods: names of these columns.

    Returns:
        A row with ``n`` and, for each method, ``<method>.sum``, ``.squares``, ``.min``, ``.max``.
    """
    return train.agg(
        F.count("*").alias("n"),
        *[F.sum(m).alias(f"{m}.sum") for m in methods],
        *[F.sum(F.col(m) * F.col(m)).alias(f"{m}.squares") for m in methods],
        *[F.min(m).alias(f"{m}.min") for m in methods],
        *[F.max(m).alias(f"{m}.max") for m in methods],
    ).first()


def weight_facts(sums: Any, spread: Mapping[str, Distribution]) -> dict[str, dict[str, float]]:
    """Statistics of the weights of each method over the training rows.

    ESS = (sum w)^2 / sum w^2 (Kish); the design effect is n / ESS.

    Args:
        sums: the output of ``weight_sums``.
        spread: the distribution of the weights of each method.
    """
    return {m: _facts(sums, m, points) for m, points in spread.items()}


def histogram(spread: Mapping[str, Distribution]) -> dict[str, list[list[float]]]:
    """The share of rows in each of 40 logarithmic bins, per method: [lower edges, shares].

    Args:
        spread: the distribution of the weights of each method, over all training rows or over
            those with one label.
    """
    edges = np.logspace(-2, 2, 41)
    result = {}
    for method, points in spread.items():
        values = np.array([v for v, _ in points])
        shares = np.diff([0.0, *[s for _, s in points]])
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        counts = np.bincount(place, weights=shares, minlength=len(edges) - 1)
        result[method] = [edges[:-1].tolist(), counts.tolist()]
    return result


def drivers(
    train: DataFrame, rows: int, methods: list[str], names: list[str], seed: int
) -> dict[str, dict[str, float]]:
    """Correlation of the weights with the label and with each feature, largest first.

    Args:
        train: training rows with ``label``, ``features`` and a column of weights per method.
        rows: number of training rows; the correlations are taken over a hashed sample of them.
        methods: names of the weight columns.
        names: feature names, [D].
        seed: seed of the sample.
    """
    sample = train.where(uniform(seed, "drivers", "sample_id") <= min(1.0, _SAMPLE / rows))
    columns = F.array(*methods, F.col("label").cast("double"))
    joined = F.concat(columns, F.col("features").cast("array<double>"))
    matrix = Correlation.corr(sample.select(array_to_vector(joined).alias("v")), "v").first()
    # Small by nature: (methods + features) squared.
    table = np.nan_to_num(matrix[0].toArray())  # type: ignore[index]
    labels = ["label", *names]
    result = {}
    for i, method in enumerate(methods):
        correlations = dict(zip(labels, table[i, len(methods) :], strict=True))
        ranked = sorted(correlations.items(), key=lambda item: -abs(item[1]))
        result[method] = {k: float(v) for k, v in ranked if k == "label" or abs(v) > 1e-6}
    return result


def extremes(
    train: DataFrame, methods: list[str], names: list[str], known: dict[str, dict[str, float]]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The rows with the highest and the lowest weights of each method, for inspection.

    Args:
        train: training rows with ``sample_id``, ``label``, ``features`` and a column of weights
            per method.
        methods: names of the weight columns.
        names: feature names, [D].
        known: the output of ``drivers``: each row is shown with the features that correlate most
            with the method's weights.

    Returns:
        method -> ``highest`` and ``lowest`` -> rows with ``sample_id``, ``label``, ``weight`` and
        the features by name.
    """
    parts = []
    for method in methods:
        # Weights that correlate with no feature are shown with the first features.
        driving = [name for name in known[method] if name != "label"]
        shown = (driving or names)[:_SHOWN_FEATURES]
        values = [F.get("features", F.lit(names.index(name))).alias(name) for name in shown]
        for end, order in (("highest", F.col(method).desc()), ("lowest", F.col(method).asc())):
            extreme_rows = train.orderBy(order, "sample_id").limit(_SHOWN_ROWS)
            row = F.struct(F.col("sample_id"), "label", F.col(method).alias("weight"))
            parts.append(
                extreme_rows.select(
                    F.lit(method).alias("method"),
                    F.lit(end).alias("end"),
                    row.alias("row"),
                    F.to_json(F.struct(*values)).alias("features"),
                )
            )
    rows_by_method: dict[str, dict[str, list[dict[str, Any]]]] = {
        method: {"highest": [], "lowest": []} for method in methods
    }
    # Small by nature: 2 x 50 rows per method.
    for selected in reduce(DataFrame.union, parts).collect():
        rows_by_method[selected["method"]][selected["end"]].append(
            {
                # As text: a JSON reader may round an integer of 19 digits.
                "sample_id": str(selected["row"]["sample_id"]),
                "label": selected["row"]["label"],
                "weight": selected["row"]["weight"],
                "features": json.loads(selected["features"]),
            }
        )
    for ends in rows_by_method.values():
        ends["highest"].sort(key=lambda row: (-row["weight"], int(row["sample_id"])))
        ends["lowest"].sort(key=lambda row: (row["weight"], int(row["sample_id"])))
    return rows_by_method


def segment_shares(train: DataFrame, total: Any, methods: list[str]) -> list[dict[str, Any]]:
    """Each segment's share of the rows, and of the total weight of each method.

    Args:
        train: training rows with ``segment`` and a column of weights per method.
        total: the output of ``weight_sums``.
        methods: names of the weight columns.

    Returns:
        ``segment``, ``rows`` and ``weight`` (method -> share) of the largest segments, largest
        first; smaller segments and rows without a segment are left out.
    """
    sums = [F.count("*").alias("rows"), *[F.sum(m).alias(m) for m in methods]]
    groups = train.where("segment is not null").groupBy("segment").agg(*sums)
    # Small by nature: no more than a page can show.
    rows = groups.orderBy(F.desc("rows"), "segment").limit(_SHOWN_SEGMENTS).collect()
    return [
        {
            "segment": row["segment"],
            "rows": row["rows"] / total["n"],
            "weight": {m: row[m] / total[f"{m}.sum"] for m in methods},
        }
        for row in rows
    ]


def _facts(sums: Any, method: str, spread: Distribution) -> dict[str, float]:
    n, total, squares = sums["n"], sums[f"{method}.sum"], sums[f"{method}.squares"]
    ess = total**2 / squares
    zero = max((share for value, share in spread if value <= 0), default=0.0)
    return {
        "ess": ess,
        "ess_share": ess / n,
        "design_effect": n / ess,
        "mean": total / n,
        "min": sums[f"{method}.min"],
        "max": sums[f"{method}.max"],
        "share_zero": zero,
        **{f"q{round(100 * q):02d}": quantile(spread, q) for q in _QUANTILES},
    }
