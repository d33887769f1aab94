"""Which weights help which ranker: the part of the report that stands rankers side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reweight.evaluate.judges import RECORDED
from reweight.evaluate.verdict import leading

Values = dict[str, Any]
# What the table shows of a method: the order of the rows, in two words.
SHOWN = ("ranking_log_loss", "auc")


def metrics_of(metrics: pd.DataFrame, ranker: str | None) -> pd.DataFrame:
    """The rows of one ranker, and those of no ranker, such as metrics of weights.

    Args:
        metrics: rows of the table ``metrics``; those of earlier versions do not name their ranker.
        ranker: name of the ranker.
    """
    if ranker is None or "ranker" not in metrics:
        return metrics
    return metrics[metrics["ranker"].isna() | (metrics["ranker"] == ranker)]


def effects(
    by_judge: Mapping[str, Values], judges: Mapping[str, Values], methods: Sequence[str]
) -> Values:
    """What the first judge that can tell says of one ranker.

    Args:
        by_judge: judge -> split -> method -> metric -> value and difference.
        judges: what each judge says of the ranker.
        methods: names of the methods.

    Returns:
        The ``judge``, and ``methods``: method -> the ``outcome`` and the cells of ``SHOWN``.
    """
    judge = leading(judges) or RECORDED
    cells, outcomes = by_judge[judge]["test"], judges[judge]["test"]
    return {
        "judge": judge,
        "methods": {
            method: {
                "outcome": outcomes.get(method, {}).get("outcome", ""),
                **{name: cells[method].get(name, {}) for name in SHOWN},
            }
            for method in methods
        },
    }
