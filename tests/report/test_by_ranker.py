"""Rankers side by side: from reduced predictions to the decision, the page and the console."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from reweight.benchmark.conditions.metrics_in_memory import values_in_memory
from reweight.evaluate.arms import by_ranker
from reweight.evaluate.judges.recorded import Recorded
from reweight.evaluate.reduction import Reduced
from reweight.evaluate.section import Evaluation
from reweight.evaluate.stage import _results
from reweight.evaluate.verdict import RANKING
from reweight.report import page

EVALUATION = Evaluation(replicates=100, buckets=40)
# Arm -> what its score knows of the row, and what it adds that is noise.
ARMS = {
    "linear/uniform": (0.9, 0.2),
    "linear/random": (0.9, 0.2),
    "linear/better": (0.9, 0.2),
    "boosted/uniform": (0.9, 1.4),
    "boosted/random": (0.9, 1.0),
    "boosted/better": (1.2, 0.1),
}


def reduced() -> Reduced:
    draw = np.random.default_rng(2)
    rows = 4000
    x, noise = draw.normal(size=(2, rows))
    label = (draw.random(rows) < expit(1.2 * x - 1)).astype(float)
    frame = pd.DataFrame(
        {
            "judge": "recorded",
            "split": np.where(np.arange(rows) % 2, "test", "validation"),
            "sample_id": np.arange(rows),
            "group_id": draw.integers(0, 400, rows),
            "segment": None,
            "positive": label,
            "negative": 1 - label,
        }
    )
    values = [
        values_in_memory(
            frame.assign(method=arm, probability=expit(knows * x + adds * noise - 1)),
            [],
            EVALUATION,
            seed=0,
        )
        for arm, (knows, adds) in ARMS.items()
    ]
    bins = pd.DataFrame(columns=["judge", "method", "split", "bin", "n", "pos", "predicted"])
    return Reduced(bins, {("recorded", arm): 0 for arm in ARMS}, pd.concat(values))


@pytest.fixture(scope="module")
def evaluated() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    parts = by_ranker(reduced(), ["linear", "boosted"])
    return _results(parts, {"recorded": Recorded()}, EVALUATION, {"recorded": "a note"}, RANKING)


def test_the_same_weights_may_help_one_ranker_and_not_another(evaluated: Any) -> None:
    rows, results = evaluated
    assert {row["ranker"] for row in rows} == set(results) == {"linear", "boosted"}
    outcomes = {
        method: {
            name: result["judges"]["recorded"]["test"][method]["outcome"]
            for name, result in results.items()
        }
        for method in ("random", "better")
    }
    assert outcomes["better"] == {"linear": "no significant difference", "boosted": "helps"}
    assert outcomes["random"] == {"linear": "control", "boosted": "control"}
    assert results["linear"]["judges"]["recorded"]["note"] == "a note"
    # Weights drawn at random are never shipped, even where they are better than uniform ones.
    random = results["boosted"]["judges"]["recorded"]["validation"]["random"]
    assert random["ranking"] == "no significant difference"
    assert random["difference"] < 0
    shipped = {name: result["decision"]["weights"] for name, result in results.items()}
    assert shipped == {"linear": "uniform", "boosted": "better"}


def test_the_page_and_the_console_stand_them_side_by_side(evaluated: Any) -> None:
    rows, results = evaluated
    metrics = pd.DataFrame(rows).assign(seed=0)
    quantiles = dict.fromkeys(("q01", "q05", "q25", "q50", "q75", "q95", "q99"), 1.0)
    facts = {"ess": 600.0, "ess_share": 0.5, "min": 0.1, "max": 2.0, "share_zero": 0.0} | quantiles
    names = ("uniform", "random", "better")
    histogram = ([0.1, 1.0, 10.0], [0.4, 0.6, 0.6])
    evaluation = results["linear"] | {
        "rankers": {"boosted": results["boosted"]},
        "facts": dict.fromkeys(names, facts),
        "histograms": dict.fromkeys(names, histogram),
        "by_label": {label: dict.fromkeys(names, histogram) for label in ("0", "1")},
        "drivers": {name: {"label": 0.1} for name in names},
        "segment_shares": [],
        "extremes": {},
    }
    record = {
        "status": "done",
        **{"started": "2026-03-01T10:00:00+00:00", "seconds": 1.0, "revision": "a"},
        **{"config_hash": "b", "inputs": {}, "outputs": {}, "summary": {}},
    }
    content = page.content(
        baseline="uniform",
        config={
            "run_id": "two",
            "importance": [{"name": name} for name in names],
            "rankers": [{"name": "linear"}, {"name": "boosted"}],
            "evaluation": {
                "confidence": 0.95,
                "smallest_difference": 0.001,
                "ndcg_k": 10,
                "min_positives": 10,
            },
        },
        records={"report": record},
        metrics=metrics,
        days=pd.DataFrame({"day": [], "split": [], "rows": [], "positives": []}),
        evaluation=evaluation,
        losses={},
    )
    change = content["effects"]["boosted"]["methods"]["better"]["loss"]["difference"]
    row = metrics[(metrics["ranker"] == "boosted") & (metrics["method"] == "better")]
    row = row[(row["name"] == "ranking_log_loss") & (row["split"] == "test")]
    row = row[(row["kind"] == "difference") & row["segment"].isna()]
    assert change == row["value"].item() < 0
    # The first ranker alone is what the rest of the page is about.
    linear = content["comparison"]["test"]["better"]["auc"]["value"]
    assert linear != content["rankers"]["boosted"]["comparison"]["test"]["better"]["auc"]["value"]
    lines = page.told(content)
    assert any("linear, by recorded" in line and "boosted, by recorded" in line for line in lines)
    shown = next(
        line for line in lines if line.startswith("better") and line.rstrip().endswith("helps")
    )
    assert f"{change:+.4f}" in shown
    assert any(line.startswith("random") and line.endswith("control") for line in lines)
    assert any(line.startswith("boosted: Ship the weights of better") for line in lines)
    written = page.render(content)
    assert "Which weights help which ranker" in written
    assert "<summary>boosted: Ship the weights of better" in written
    before = page.content(
        baseline="uniform",
        config=content["config"] | {"rankers": []},
        records={"report": record},
        metrics=metrics[metrics["ranker"] == "linear"].drop(columns="ranker"),
        days=pd.DataFrame({"day": [], "split": [], "rows": [], "positives": []}),
        evaluation={k: v for k, v in evaluation.items() if k != "rankers"},
        losses={},
    )
    assert before["comparison"] == content["comparison"]
    assert "Which weights help which ranker" not in page.render(before)
