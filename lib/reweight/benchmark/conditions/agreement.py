"""Whether other judges say what the truth says, and how often a judge says that weights help.

Pairs of a method and a world are counted where the interval of the true difference to uniform, in
log loss after recalibration, excludes 0: the sign of a judge's difference is right or wrong there.
A judge with few positives cannot tell: what it is sure of are the pairs whose interval by it
excludes 0, too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from reweight.benchmark.conditions.judges import TRUTH
from reweight.benchmark.detection.protocol import ORACLE
from reweight.core.baselines import RECALIBRATED
from reweight.evaluate.verdict import HELPS

Values = dict[str, Any]

_RANKING = "ranking_log_loss"
# The row of all conditions together.
ALL = "all"


def content(rows: pd.DataFrame, conditions: Sequence[str]) -> list[Values]:
    """Per condition and judge: pairs, those whose sign agrees, and worlds where a method helps.

    Args:
        rows: rows of the table ``conditions``.
        conditions: the conditions, in order.

    Returns:
        ``condition``, ``judge``, ``pairs``, ``agree`` (a share, None without pairs), the same of
        the pairs of which the judge is ``sure`` (``sure_agree``), ``worlds`` and ``helps`` (the
        number of worlds in which the judge says that a method helps). The rows with the judge None
        count worlds in which any judge says so.
    """
    pairs, helped = _pairs(rows), _helped(rows)
    judges = [str(judge) for judge in rows["judge"].dropna().unique()]
    agreements = []
    for condition in [*conditions, ALL]:
        for judge in [*sorted(judges, key=lambda name: name != TRUTH), None]:
            compared, worlds = (
                part[
                    ((part["condition"] == condition) | (condition == ALL))
                    & ((part["judge"] == judge) | (judge is None))
                ]
                for part in (pairs, helped)
            )
            if len(worlds):
                sure = compared[compared["sure"]]
                agreements.append(
                    {
                        "condition": condition,
                        "judge": judge,
                        "pairs": len(compared),
                        "agree": float(compared["agrees"].mean()) if len(compared) else None,
                        "sure": len(sure),
                        "sure_agree": float(sure["agrees"].mean()) if len(sure) else None,
                        "worlds": int(worlds["world"].nunique()),
                        "helps": int(worlds.loc[worlds["helps"], "world"].nunique()),
                    }
                )
    return agreements


def lines(found: Sequence[Values]) -> list[str]:
    """The agreement of judges as lines of text, for the console."""
    judges = dict.fromkeys(row["judge"] for row in found if row["judge"] not in (None, TRUTH))
    texts = []
    for judge in judges:
        rows = [row for row in found if row["judge"] == judge and row["agree"] is not None]
        shares = ", ".join(f"{r['condition']} {r['agree']:.0%} of {r['pairs']}" for r in rows)
        texts.append(f"{judge} agrees with {TRUTH}: {shares or 'no clear pair'}")
        if rows and rows[-1]["condition"] == ALL and rows[-1]["sure"]:
            texts[-1] += "; where its own interval excludes 0, "
            texts[-1] += f"{rows[-1]['sure_agree']:.0%} of {rows[-1]['sure']}"
    any_judge = [row for row in found if row["judge"] is None]
    counts = ", ".join(f"{row['condition']} {row['helps']} of {row['worlds']}" for row in any_judge)
    return [*texts, f"worlds in which a judge says that a method helps: {counts}"] if texts else []


def _pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """Method, world and judge -> whether its sign agrees, where the true sign is known."""
    named = (rows["name"] == _RANKING) & (rows["kind"] == "difference")
    chosen = rows[named & ~rows["method"].isin([ORACLE, RECALIBRATED])]
    clear = chosen[(chosen["judge"] == TRUTH) & (chosen["low"] * chosen["high"] > 0)]
    pair = ["world", "condition", "method"]
    truth = clear[[*pair, "value"]].rename(columns={"value": "true"})
    compared = chosen[chosen["judge"] != TRUTH].merge(truth, on=pair)
    return compared.assign(
        agrees=np.sign(compared["value"]) == np.sign(compared["true"]),
        sure=compared["low"] * compared["high"] > 0,
    )


def _helped(rows: pd.DataFrame) -> pd.DataFrame:
    """World and judge -> whether the judge says of some method that it helps."""
    outcomes = rows[rows["kind"] == "verdict"]
    outcomes = outcomes.assign(helps=outcomes["reason"] == HELPS)
    return outcomes.groupby(["condition", "world", "judge"])[["helps"]].any().reset_index()
