"""Intervals of paired differences: over many worlds of known truth, as often right as they say."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from reweight.benchmark.conditions.metrics_in_memory import measured
from reweight.evaluate.section import Evaluation

WORLDS, GROUPS, ROWS = 200, 400, 5
# Sums and ranks over rows. Others are left out for a reason: the calibration error is biased where
# rows are few (noise is taken for error, in either model), and thresholds are chosen.
METRICS = ("log_loss", "normalised_entropy", "brier", "auc", "pr_auc", "gauc", "ndcg_at_10")


def predictions(seed: int, groups: int) -> pd.DataFrame:
    """A better and a worse model of rows whose groups have tastes of their own."""
    draw = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), ROWS)
    taste, x, noise = draw.normal(size=groups)[group], *draw.normal(size=(2, len(group)))
    label = (draw.random(len(group)) < expit(x + taste - 1)).astype(float)
    scores = {"uniform": 0.6 * x + 0.3 * noise - 0.9, "better": 0.9 * x + 0.5 * taste - 1}
    frames = [
        pd.DataFrame(
            {
                "method": method,
                "split": "test",
                "sample_id": np.arange(len(group)),
                "group_id": group,
                "segment": None,
                "label": label,
                "probability": expit(score),
            }
        )
        for method, score in scores.items()
    ]
    # No metric here looks at thresholds, which are chosen on validation rows.
    return pd.concat(frames)


def through_positions(seed: int, groups: int) -> pd.DataFrame:
    """The same, where a row counts as a positive with c / theta, theta = 1 / position."""
    rows = predictions(seed, groups)
    position = 1 + rows["sample_id"].to_numpy() % ROWS
    draw = np.random.default_rng(10_000 + seed)
    seen = np.tile(draw.random(len(rows) // 2), 2) < 1 / position
    positive = rows["label"] * seen * position
    return rows.assign(judge="position", positive=positive, negative=1 - positive)


def differences(
    seed: int,
    groups: int,
    replicates: int,
    made: Callable[[int, int], pd.DataFrame] = predictions,
) -> dict[str, tuple[float, float, float]]:
    evaluation = Evaluation(replicates=replicates)
    return {
        row["name"]: (row["value"], row["low"], row["high"])
        for row in measured(made(seed, groups), evaluation, "uniform", seed)
        if (row["method"], row["kind"]) == ("better", "difference") and row["segment"] is None
    }


@pytest.fixture(scope="module")
def truth() -> dict[str, tuple[float, float, float]]:
    """Of so many rows that its own error does not matter."""
    return differences(WORLDS, 100 * GROUPS, 100)


@pytest.mark.long
def test_intervals_of_95_percent_cover_the_truth_in_93_to_97_percent_of_worlds(
    truth: dict[str, tuple[float, float, float]],
) -> None:
    worlds = [differences(seed, GROUPS, 400) for seed in range(WORLDS)]
    covered = {
        name: np.mean([low <= truth[name][0] <= high for _, low, high in (w[name] for w in worlds)])
        for name in METRICS
    }
    assert all(0.93 <= share <= 0.97 for share in covered.values()), covered
    # And they are not wide because they know nothing: they tell the better model from the worse.
    assert all(w["auc"][1] > 0 and w["log_loss"][2] < 0 for w in worlds)


@pytest.mark.long
def test_intervals_of_the_position_judge_cover_the_difference_that_the_truth_shows(
    truth: dict[str, tuple[float, float, float]],
) -> None:
    worlds = [differences(seed, GROUPS, 400, through_positions) for seed in range(WORLDS)]
    covered = {
        name: np.mean([low <= truth[name][0] <= high for _, low, high in (w[name] for w in worlds)])
        for name in ("log_loss", "brier", "auc")
    }
    assert all(0.93 <= share <= 0.97 for share in covered.values()), covered


def test_the_interval_of_a_calibration_error_holds_it() -> None:
    for seed in range(5):
        rows = predictions(seed, 400)
        # Predicted as the truth is: all of the error is noise.
        draw = np.random.default_rng(seed)
        rows = rows.assign(label=(draw.random(len(rows)) < rows["probability"]).astype(float))
        for row in measured(rows, Evaluation(replicates=100), "uniform", seed):
            if row["name"] == "ece" and row["low"] is not None:
                assert row["low"] <= row["value"] <= row["high"]
                assert row["kind"] == "difference" or row["low"] >= 0


def test_the_position_judge_has_the_auc_within_groups_that_the_truth_has() -> None:
    areas = [
        {
            row["method"]: row["value"]
            for row in measured(made(1, 4000), Evaluation(replicates=100), "uniform", 1)
            if (row["name"], row["kind"], row["segment"]) == ("gauc", "value", None)
        }
        for made in (predictions, through_positions)
    ]
    assert areas[0]["better"] - areas[0]["uniform"] > 0.02
    for method in ("uniform", "better"):
        assert areas[1][method] == pytest.approx(areas[0][method], abs=0.02)


def test_segments_called_all_and_other_are_not_pooled_with_the_rest() -> None:
    rows = predictions(0, 80)
    names = np.array(["all", "other", "small", None], dtype=object)
    rows["segment"] = names[
        np.where(rows["group_id"] < 60, rows["group_id"] % 2, 2 + rows.index % 2)
    ]
    found = measured(rows, Evaluation(replicates=100, max_segments=2), "uniform", 0)
    counts = {
        row["segment"]: row["value"]
        for row in found
        if (row["method"], row["name"]) == ("uniform", "rows") and row["segment"]
    }
    assert counts == {"all": 150, "other": 150, "(other)": 50, "(all)": 50}
