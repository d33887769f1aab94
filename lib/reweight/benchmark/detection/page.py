"""The page of the benchmark: its content as plain values, and the HTML page made from it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from reweight.benchmark.detection import statistics
from reweight.benchmark.detection.plots import ALL, plots
from reweight.benchmark.detection.protocol import FOREST, ORACLE, auc_of
from reweight.core.baselines import BASELINE
from reweight.importance.base import ImportanceMethod
from reweight.report.page import number, outcome, rendered

METRICS = ("auroc", "auprc", "precision_at_count", "f1_two_means")
COSTS = ("fit_seconds", "score_seconds_per_million")
_BLOCK = ("table", "damage", "rate")

Values = dict[str, Any]


def content(
    *,
    config: Values,
    methods: Sequence[ImportanceMethod],
    records: Mapping[str, Values],
    rows: pd.DataFrame,
    published: pd.DataFrame | None,
) -> Values:
    """Everything that the page shows, as values that JSON can hold.

    Args:
        config: the config of the run.
        methods: the methods of the config.
        records: stage name -> its record.
        rows: rows of the table ``benchmark``.
        published: published figures, or None.
    """
    failed = rows[rows["name"] == "failed"]
    rankers = [auc_of(ranker["name"]) for ranker in config["benchmark"].get("rankers", ())]
    scores = rows[rows["name"].isin([*METRICS, *rankers])]
    auroc = scores[scores["name"] == "auroc"]
    tables = list(config["benchmark"]["tables"])
    names = _ordered(auroc)
    conditions = sorted(
        {(str(d), float(r)) for d, r in zip(rows["damage"], rows["rate"], strict=True)}
    )
    kinds = {m.name: m for m in methods}
    return {
        "run_id": config["run_id"],
        "baseline": FOREST,
        "methods": names,
        "tables": tables,
        "seeds": int(rows["seed"].nunique()),
        "cells": int(rows["cell"].nunique()),
        "results": [
            {
                "damage": d,
                "rate": r,
                "metric": metric,
                "cells": _cells(part, names, tables, BASELINE if metric in rankers else FOREST),
            }
            for d, r in conditions
            for metric, part in _parts(scores, [*METRICS, *rankers], d, r)
        ],
        "rankers": rankers,
        "uniform": BASELINE,
        "comparison": _comparison(auroc),
        "curves": _curves(rows, names),
        "facts": {name: _facts(name, kinds.get(name), rows) for name in names},
        "published": _published(scores, published, names),
        "failures": failed.drop(columns=["cell", "name", "share", "value"]).to_dict("records"),
        "stages": list(records.values()),
        "config": config,
    }


def render(values: Values) -> str:
    """The page as one self-contained HTML file."""
    return rendered("benchmark.html.j2", values | {"all": ALL, "plots": plots(values)})


def table(values: Values) -> list[str]:
    """Means over all tables as lines of text, for the console."""
    lines = []
    for damage, rate in dict.fromkeys((r["damage"], r["rate"]) for r in values["results"]):
        results = [r for r in values["results"] if (r["damage"], r["rate"]) == (damage, rate)]
        lines.append(f"{damage} {rate:.0%}: " + ", ".join(r["metric"] for r in results))
        for method in values["methods"]:
            cells = [r["cells"].get(method, {}).get(ALL, {}) for r in results]
            shown = [_text(cell, values["seeds"]).ljust(14) for cell in cells]
            lines.append(f"  {method.ljust(28)} " + "  ".join(shown))
    return lines


def _text(cell: Values, seeds: int) -> str:
    error, draws = cell.get("error"), cell.get("draws", seeds)
    text = number(cell.get("mean"), 3) + ("" if error is None else f" +- {number(error, 3)}")
    return text if draws == seeds else f"{text} ({draws} of {seeds} draws)"


def _parts(
    scores: pd.DataFrame, metrics: Sequence[str], damage: str, rate: float
) -> list[tuple[str, pd.DataFrame]]:
    part = scores[(scores["damage"] == damage) & (scores["rate"] == rate)]
    return [(metric, part[part["name"] == metric]) for metric in metrics]


def _ordered(auroc: pd.DataFrame) -> list[str]:
    """The oracle, then the methods from the best; methods that lack a draw come last."""
    whole = _over_blocks(auroc, ["method"]).sort_values(ascending=False)
    means = auroc.groupby("method")["value"].mean().sort_values(ascending=False)
    return list(dict.fromkeys([ORACLE, *whole.index, *means.index]))


def _over_blocks(
    rows: pd.DataFrame, keys: list[str], block: Sequence[str] = _BLOCK
) -> "pd.Series[float]":
    """Mean over the blocks; left out if a draw of one is missing."""
    return _by_block(rows, keys, block).T.mean()


def _by_block(rows: pd.DataFrame, keys: list[str], block: Sequence[str] = _BLOCK) -> pd.DataFrame:
    """A row per key with the mean of each block over its draws; only keys that have every draw.

    What fails on the hard draws would otherwise have the mean of the easy ones.
    """
    draws = rows.pivot_table(index=keys, columns=[*block, "seed"], values="value").dropna()
    return draws.T.groupby(level=list(block)).mean().T


def _cells(
    rows: pd.DataFrame, names: Sequence[str], tables: Sequence[str], compared_to: str
) -> dict[str, dict[str, Values]]:
    """Method -> table -> mean over seeds, its error, and the difference to the baseline."""
    wide = rows.pivot_table(index="seed", columns=["method", "table"], values="value")
    cells: dict[str, dict[str, Values]] = {}
    baseline = wide.get(compared_to)
    # How well the oracle finds wrong rows is no question; what its weights are worth is one.
    alone = (compared_to, *[ORACLE][: compared_to == FOREST])
    for method in names:
        if method not in wide:
            continue
        of_method = _with_all(pd.DataFrame(wide[method]), tables)
        of_baseline = None if baseline is None else _with_all(pd.DataFrame(baseline), tables)
        cells[method] = {
            str(name): _cell(
                of_method[name],
                None if of_baseline is None or method in alone else of_baseline.get(name),
            )
            for name in of_method
            if of_method[name].notna().any()
        }
    return cells


def _with_all(part: pd.DataFrame, tables: Sequence[str]) -> pd.DataFrame:
    """Adds the mean over all tables; NaN for a seed that lacks a table."""
    part = part.reindex(columns=list(tables))
    return part.assign(**{ALL: part.T.mean(skipna=False)})


def _cell(of_method: "pd.Series[float]", of_baseline: "pd.Series[float] | None") -> Values:
    """Mean over seeds, and the difference to the baseline over the seeds that both have."""
    values = of_method.dropna().to_numpy(np.float64)
    mean, error = statistics.mean_and_error(values)
    cell: Values = {"mean": mean, "error": error, "draws": len(values)}
    if of_baseline is not None:
        paired = (of_method - of_baseline).dropna().to_numpy(np.float64)
        if len(paired):
            low, high = statistics.interval(paired) or (None, None)
            cell |= {"difference": float(paired.mean()), "low": low, "high": high}
            cell["outcome"] = outcome(cell, lower_is_better=False)
    return cell


def _comparison(auroc: pd.DataFrame) -> Values:
    """Ranks over blocks (table, damage, rate), for the methods with results in every draw."""
    comparison = statistics.compared(_by_block(auroc[auroc["method"] != ORACLE], ["method"]).T)
    return asdict(comparison) | {"cliques": statistics.cliques(comparison)}


def _curves(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, list[list[float]]]]:
    """Name of the curve -> method -> (share removed, mean over all blocks)."""
    keys = ["name", "method", "share"]
    means = _over_blocks(rows[rows["share"].notna()], keys).rename("value").reset_index()
    return {
        str(name): {
            m: part.loc[part["method"] == m, ["share", "value"]].to_numpy(float).tolist()
            for m in names
            if (part["method"] == m).any()
        }
        for name, part in means.groupby("name")
    }


def _facts(name: str, method: ImportanceMethod | None, rows: pd.DataFrame) -> Values:
    """What a method declares and what it costs."""
    numbers: Values = {}
    for kind in (*COSTS, "stability"):
        means = _over_blocks(rows[rows["name"] == kind], ["method"])
        numbers[kind] = float(means[name]) if name in means.index else None
    declared: Values = {"assumes": "", "polarity": "valuable", "cost": ""}
    if method is not None:
        declared = {"assumes": method.assumes, "polarity": method.polarity, "cost": method.cost}
    return declared | numbers


def _published(
    scores: pd.DataFrame, published: pd.DataFrame | None, names: Sequence[str]
) -> list[Values]:
    """Mean F1 of two-means clustering per rate, published and ours, over the common tables."""
    if published is None:
        return []
    f1 = scores[(scores["name"] == "f1_two_means") & (scores["damage"] == "uniform")]
    published_scores = published.rename(
        columns={"dataset": "table", "noise_rate": "rate", "mean_kmeans_f1": "value"}
    )
    published_scores = published_scores[published_scores["rate"].isin(f1["rate"])].assign(seed=0)
    tables = sorted(set(f1["table"]) & set(published_scores["table"]))
    run_means, published_means = _means(f1, tables), _means(published_scores, tables)
    rows = [{"method": m, "ours": True, "rates": run_means[m]} for m in names if m in run_means]
    rows += [{"method": m, "ours": False, "rates": rates} for m, rates in published_means.items()]
    return sorted(rows, key=lambda row: -float(np.mean(list(row["rates"].values()))))


def _means(rows: pd.DataFrame, tables: Sequence[str]) -> dict[str, dict[str, float]]:
    """Method -> rate -> mean over these tables; left out if a draw of one is missing."""
    means = _over_blocks(rows[rows["table"].isin(tables)], ["method", "rate"], ["table"])
    return {
        str(method): dict(zip(part["rate"].astype(str), part["value"].tolist(), strict=True))
        for method, part in means.rename("value").reset_index().groupby("method")
    }
