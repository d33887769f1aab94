"""The page of the benchmark: its content as plain values, and the page that shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from reweight.benchmark.detection import statistics
from reweight.benchmark.detection.plots import ALL, plots
from reweight.benchmark.detection.protocol import FOREST, ORACLE
from reweight.importance.base import ImportanceMethod
from reweight.report.page import number, outcome, rendered

METRICS = ("auroc", "auprc", "precision_at_count", "f1_two_means")
COSTS = ("fit_seconds", "score_seconds_per_million")

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
        config: of the run.
        methods: of the config.
        records: stage name -> its record.
        rows: of the table ``benchmark``.
        published: figures of others, or None.
    """
    failed = rows[rows["name"] == "failed"]
    judged = rows[rows["name"].isin(METRICS)]
    auroc = judged[judged["name"] == "auroc"]
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
            {"damage": d, "rate": r, "metric": metric, "cells": _cells(own, names, tables)}
            for d, r in conditions
            for metric, own in _parts(judged, d, r)
        ],
        "comparison": _comparison(auroc),
        "curves": _curves(rows, names),
        "facts": {name: _facts(name, kinds.get(name), rows) for name in names},
        "published": _published(judged, published, names),
        "failures": failed.drop(columns=["cell", "name", "share", "value"]).to_dict("records"),
        "stages": list(records.values()),
        "config": config,
    }


def render(values: Values) -> str:
    """The page: one HTML file that needs nothing beside it."""
    return rendered("benchmark.html.j2", values | {"all": ALL, "plots": plots(values)})


def table(values: Values) -> list[str]:
    """Means over all tables as lines of text, for a console."""
    lines = []
    for damage, rate in dict.fromkeys((r["damage"], r["rate"]) for r in values["results"]):
        own = [r for r in values["results"] if (r["damage"], r["rate"]) == (damage, rate)]
        lines.append(f"{damage} {rate:.0%}: " + ", ".join(r["metric"] for r in own))
        for method in values["methods"]:
            cells = [r["cells"].get(method, {}).get(ALL, {}) for r in own]
            told = [_told(cell).ljust(14) for cell in cells]
            lines.append(f"  {method.ljust(28)} " + "  ".join(told))
    return lines


def _told(cell: Values) -> str:
    error = cell.get("error")
    return number(cell.get("mean"), 3) + ("" if error is None else f" +- {number(error, 3)}")


def _parts(judged: pd.DataFrame, damage: str, rate: float) -> list[tuple[str, pd.DataFrame]]:
    own = judged[(judged["damage"] == damage) & (judged["rate"] == rate)]
    return [(metric, own[own["name"] == metric]) for metric in METRICS]


def _ordered(auroc: pd.DataFrame) -> list[str]:
    """The oracle, then from the best; methods that lack a block are last."""
    whole = _over_blocks(auroc, ["method"]).sort_values(ascending=False)
    means = auroc.groupby("method")["value"].mean().sort_values(ascending=False)
    return list(dict.fromkeys([ORACLE, *whole.index, *means.index]))


def _over_blocks(rows: pd.DataFrame, keys: list[str]) -> "pd.Series[float]":
    """Mean over the blocks (table, damage, rate); nothing where a block is missing."""
    blocks = rows.pivot_table(index=keys, columns=["table", "damage", "rate"], values="value")
    return blocks.T.mean(skipna=False).dropna()


def _cells(
    rows: pd.DataFrame, names: Sequence[str], tables: Sequence[str]
) -> dict[str, dict[str, Values]]:
    """Method -> table -> mean over seeds, its error, and the difference to the baseline."""
    wide = rows.pivot_table(index="seed", columns=["method", "table"], values="value")
    found: dict[str, dict[str, Values]] = {}
    baseline = wide.get(FOREST)
    for method in names:
        if method not in wide:
            continue
        own = _with_all(pd.DataFrame(wide[method]), tables)
        other = None if baseline is None else _with_all(pd.DataFrame(baseline), tables)
        found[method] = {
            str(name): _cell(method, own[name], None if other is None else other.get(name))
            for name in own
            if own[name].notna().any()
        }
    return found


def _with_all(part: pd.DataFrame, tables: Sequence[str]) -> pd.DataFrame:
    """Adds the mean over all tables; where one is missing, its seed has none."""
    part = part.reindex(columns=list(tables))
    return part.assign(**{ALL: part.T.mean(skipna=False)})


def _cell(method: str, own: "pd.Series[float]", other: "pd.Series[float] | None") -> Values:
    """Mean over seeds; the difference to the baseline is of the seeds that both have."""
    values = own.dropna().to_numpy(np.float64)
    mean, error = statistics.mean_and_error(values)
    cell: Values = {"mean": mean, "error": error, "draws": len(values)}
    if method not in (FOREST, ORACLE) and other is not None:
        paired = (own - other).dropna().to_numpy(np.float64)
        if len(paired):
            low, high = statistics.interval(paired) or (None, None)
            cell |= {"difference": float(paired.mean()), "low": low, "high": high}
            cell["outcome"] = outcome(cell, lower_is_better=False)
    return cell


def _comparison(auroc: pd.DataFrame) -> Values:
    """Ranks over blocks (table, damage, rate) of the methods that are there in all of them."""
    own = auroc[auroc["method"] != ORACLE]
    blocks = own.pivot_table(index=["table", "damage", "rate"], columns="method", values="value")
    found = statistics.compared(blocks.dropna(axis=1))
    return asdict(found) | {"cliques": statistics.cliques(found)}


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
    told: Values = {"assumes": "", "polarity": "valuable", "cost": ""}
    if method is not None:
        told = {"assumes": method.assumes, "polarity": method.polarity, "cost": method.cost}
    return told | numbers


def _published(
    judged: pd.DataFrame, published: pd.DataFrame | None, names: Sequence[str]
) -> list[Values]:
    """Mean F1 of two means at each rate over the tables that both have, theirs and ours."""
    if published is None:
        return []
    own = judged[(judged["name"] == "f1_two_means") & (judged["damage"] == "uniform")]
    theirs = published.rename(
        columns={"dataset": "table", "noise_rate": "rate", "mean_kmeans_f1": "value"}
    )
    tables = sorted(set(own["table"]) & set(theirs["table"]))
    ours = _means(own, tables)
    others = _means(theirs[theirs["rate"].isin(own["rate"])], tables)
    found = [{"method": m, "ours": True, "rates": ours[m]} for m in names if m in ours]
    found += [{"method": m, "ours": False, "rates": rates} for m, rates in others.items()]
    return sorted(found, key=lambda one: -float(np.mean(list(one["rates"].values()))))


def _means(rows: pd.DataFrame, tables: Sequence[str]) -> dict[str, dict[str, float]]:
    """Method -> rate -> mean over these tables, where none is missing."""
    found: dict[str, dict[str, float]] = {}
    rows = rows[rows["table"].isin(tables)]
    for (method, rate), part in rows.groupby(["method", "rate"]):
        means = part.groupby("table")["value"].mean()
        if len(means) == len(tables):
            found.setdefault(str(method), {})[str(rate)] = float(means.mean())
    return found
