"""Evaluation: metrics of rows that were reduced to histograms, against the rows themselves."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from sklearn import metrics as sk

from reweight.benchmark.conditions.metrics_in_memory import measured
from reweight.evaluate.comparison import Row, measure
from reweight.evaluate.reduction import Reduced, curves, reduce_predictions
from reweight.evaluate.section import Evaluation

SECTION = Evaluation(buckets=100, replicates=400, max_segments=3, ndcg_k=3, min_positives=20)
SEED = 5
ROWS = 1200  # of each split
METHODS = ("uniform", "same", "sharper")
SCHEMA = (
    "method string, split string, sample_id bigint, group_id string, segment string, "
    "label float, probability double"
)


def predictions_of(test_label_seed: int = 0) -> pd.DataFrame:
    """Three methods: the baseline, the same predictions under another name, and better ones."""
    generator, frames = np.random.default_rng(1), []
    for split in ("validation", "test"):
        group = generator.integers(0, 180, ROWS)
        shared = generator.normal(0, 0.5, 180)[group]
        truth = generator.normal(-1.2, 1.2, ROWS) + shared
        label = (generator.random(ROWS) < 1 / (1 + np.exp(-truth))).astype(float)
        segment = np.array(["north", "south", "east", "west", "far"])[
            generator.choice(5, ROWS, p=[0.4, 0.3, 0.2, 0.07, 0.03])
        ]
        margins = {
            "uniform": 0.4 * truth - 0.3 + generator.normal(0, 0.8, ROWS),
            "sharper": 0.9 * truth + generator.normal(0, 0.3, ROWS),
        }
        if test_label_seed and split == "test":
            label = np.random.default_rng(test_label_seed).permutation(1 - label)
        # Equal predictions in a group are common where there are few values.
        tied = np.round(1 / (1 + np.exp(-margins["uniform"])), 2).clip(0.01, 0.99)
        margins["uniform"] = margins["same"] = np.log(tied / (1 - tied))
        for method in METHODS:
            frames.append(
                pd.DataFrame(
                    {
                        "method": method,
                        "split": split,
                        "sample_id": np.arange(ROWS) + (ROWS if split == "test" else 0),
                        "group_id": [f"g{g}" for g in group],
                        "segment": segment,
                        "label": label,
                        "probability": 1 / (1 + np.exp(-margins[method])),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return predictions_of()


@pytest.fixture(scope="module")
def predictions(spark: SparkSession, frame: pd.DataFrame) -> DataFrame:
    return spark.createDataFrame(frame, SCHEMA).cache()


@pytest.fixture(scope="module")
def found(predictions: DataFrame) -> Reduced:
    return reduce_predictions(predictions, SECTION, SEED)


@pytest.fixture(scope="module")
def rows(found: Reduced) -> list[Row]:
    return measure(found.values, SECTION, "uniform")


Get = Callable[..., Row]


@pytest.fixture(scope="module")
def get(rows: list[Row]) -> Get:
    table = {(r["method"], r["split"], r["segment"], r["name"], r["kind"]): r for r in rows}

    def one(
        method: str, name: str, split: str = "test", segment: str | None = None, kind: str = "value"
    ) -> Row:
        return table[method, split, segment, name, kind]

    return one


def part_of(frame: pd.DataFrame, method: str, split: str = "test") -> pd.DataFrame:
    return frame[(frame["method"] == method) & (frame["split"] == split)]


EVERY = pytest.mark.parametrize(
    ("method", "split"),
    [("uniform", "test"), ("sharper", "test"), ("uniform", "validation")],
    ids=lambda value: value,
)


@EVERY
def test_metrics_of_all_rows_equal_scikit_learns(
    frame: pd.DataFrame, get: Get, method: str, split: str
) -> None:
    own = part_of(frame, method, split)
    y, p = own["label"], own["probability"]
    loss = sk.log_loss(y, p)
    # The area under the curve has ties within a fine bin; sums over rows are exact.
    assert get(method, "auc", split)["value"] == pytest.approx(sk.roc_auc_score(y, p), abs=2e-4)
    average = sk.average_precision_score(y, p)
    assert get(method, "pr_auc", split)["value"] == pytest.approx(average, abs=2e-3)
    assert get(method, "log_loss", split)["value"] == pytest.approx(loss, rel=1e-9)
    brier = sk.brier_score_loss(y, p)
    assert get(method, "brier", split)["value"] == pytest.approx(brier, rel=1e-9)
    entropy = sk.log_loss(y, np.full(len(y), y.mean()))
    assert get(method, "normalised_entropy", split)["value"] == pytest.approx(loss / entropy)
    ratio = p.sum() / y.sum()
    assert get(method, "calibration_ratio", split)["value"] == pytest.approx(ratio, rel=1e-9)
    assert get(method, "rows", split)["value"] == ROWS
    assert get(method, "positives", split)["value"] == y.sum()


@EVERY
def test_the_calibration_error_is_that_of_twentieths_of_the_rows(
    frame: pd.DataFrame, get: Get, method: str, split: str
) -> None:
    own = part_of(frame, method, split)
    # Bins are those of both splits together, of about equal size.
    both = np.sort(frame.loc[frame["method"] == method, "probability"])
    middle = sum(np.searchsorted(both, own["probability"], side) for side in ("left", "right")) / 2
    part = (middle * 20 // len(both)).astype(int)
    by_part = own.groupby(part)[["probability", "label"]].sum()
    wanted = (by_part["probability"] - by_part["label"]).abs().sum() / ROWS
    assert get(method, "ece", split)["value"] == pytest.approx(wanted, abs=0.004)


def test_the_calibration_error_of_a_method_does_not_depend_on_the_others() -> None:
    # Twenty scores of half of the rows, two to a twentieth, one wrongly low and one wrongly high.
    low, wrong = np.linspace(0.2, 0.39, 20).repeat(30), np.arange(20).repeat(30) % 2
    p, label = np.append(low, np.full(600, 0.9)), np.append(wrong, np.ones(600))
    own = pd.DataFrame({"split": "test", "sample_id": np.arange(1200), "segment": None})
    own = own.assign(group_id=own["sample_id"] // 10, label=label)
    few = own.assign(method="uniform", probability=p)
    many = own.assign(method="many", probability=np.linspace(0.01, 0.99, 1200))

    def error(*frames: pd.DataFrame) -> float:
        rows = measured(pd.concat(frames), SECTION, "uniform", SEED)
        key = ("uniform", "ece", "value")
        return next(r["value"] for r in rows if (r["method"], r["name"], r["kind"]) == key)

    assert error(few) == error(few, many)
    assert error(few) == pytest.approx((0.5 - 0.295 + 0.1) / 2)


@EVERY
def test_auc_within_groups_is_weighted_by_their_rows(
    frame: pd.DataFrame, get: Get, method: str, split: str
) -> None:
    total = weight = left_out = 0.0
    for _, group in part_of(frame, method, split).groupby("group_id"):
        if group["label"].nunique() < 2:
            left_out += 1
            continue
        total += len(group) * sk.roc_auc_score(group["label"], group["probability"])
        weight += len(group)
    assert get(method, "gauc", split)["value"] == pytest.approx(total / weight, rel=1e-9)
    assert left_out > 0
    assert get(method, "groups_left_out", split)["value"] == left_out


def test_of_signed_masses_auc_within_groups_is_that_of_pairs_of_different_rows(
    frame: pd.DataFrame,
) -> None:
    # Every third positive counts four times, as at a place that one in four looks at.
    often = np.where(frame["sample_id"] % 3 == 0, 4.0, 1.0)
    positive = (frame["label"] * often).to_numpy()
    signed = frame.assign(judge="position", positive=positive, negative=1 - positive)
    found = {
        r["name"]: r
        for r in measured(signed, SECTION, "uniform", SEED)
        if (r["method"], r["split"], r["kind"]) == ("uniform", "test", "value")
        and r["segment"] is None
    }
    above = pairs = 0.0
    for _, group in part_of(signed, "uniform").groupby("group_id"):
        p, pos, neg = (group[c].to_numpy() for c in ("probability", "positive", "negative"))
        mass = np.outer(pos, neg)
        np.fill_diagonal(mass, 0.0)
        pairs += mass.sum()
        above += (mass * (np.sign(p[:, None] - p[None, :]) + 1) / 2).sum()
    assert found["gauc"]["value"] == pytest.approx(above / pairs, rel=1e-9)
    assert found["gauc"]["low"] < found["gauc"]["value"] < found["gauc"]["high"]
    assert found["groups_left_out"]["value"] == 0
    # An ideal order of expected values is none of labels.
    assert {found["ndcg_at_3"][key] for key in ("value", "low", "high")} == {None}


@pytest.mark.parametrize(("method", "split"), [("sharper", "test"), ("sharper", "validation")])
def test_ndcg_is_the_mean_over_groups_with_a_positive(
    frame: pd.DataFrame, get: Get, method: str, split: str
) -> None:
    gains = []
    for _, group in part_of(frame, method, split).groupby("group_id"):
        if group["label"].sum() == 0:
            continue
        shown = group.sort_values("probability", ascending=False)["label"].to_numpy()[:3]
        ideal = np.sort(group["label"].to_numpy())[::-1][:3]
        discount = 1 / np.log2(np.arange(2, 5))
        gains.append((shown @ discount[: len(shown)]) / (ideal @ discount[: len(ideal)]))
    assert get(method, "ndcg_at_3", split)["value"] == pytest.approx(np.mean(gains), rel=1e-9)


@EVERY
def test_macro_precision_and_recall_are_at_the_threshold(
    frame: pd.DataFrame, found: Reduced, get: Get, method: str, split: str
) -> None:
    own = part_of(frame, method, split)
    threshold = 1 / (1 + math.exp(-0.005 * found.thresholds["recorded", method]))
    assert found.probabilities()[method] == pytest.approx(threshold, abs=5e-5)
    called = own["probability"] >= threshold
    precision = sk.precision_score(own["label"], called, average="macro")
    recall = sk.recall_score(own["label"], called, average="macro")
    assert get(method, "macro_precision", split)["value"] == pytest.approx(precision, abs=1e-9)
    assert get(method, "macro_recall", split)["value"] == pytest.approx(recall, abs=1e-9)


@pytest.mark.parametrize("method", ["uniform", "sharper"])
def test_the_threshold_has_the_highest_macro_f1_on_validation(
    frame: pd.DataFrame, found: Reduced, method: str
) -> None:
    own = part_of(frame, method, "validation")

    def f1(threshold: float) -> float:
        return float(sk.f1_score(own["label"], own["probability"] >= threshold, average="macro"))

    best = max(f1(p) for p in np.sort(own["probability"])[::12])
    assert f1(1 / (1 + math.exp(-0.005 * found.thresholds["recorded", method]))) >= best - 1e-3


def test_segments_have_their_own_auc_and_small_ones_are_one(frame: pd.DataFrame, get: Get) -> None:
    own = part_of(frame, "sharper")
    shown = own["segment"].where(own["segment"].isin(["north", "south", "east"]), "other")
    for segment, rows in own.groupby(shown):
        wanted = sk.roc_auc_score(rows["label"], rows["probability"])
        name = str(segment)
        assert get("sharper", "auc", segment=name)["value"] == pytest.approx(wanted, abs=1e-3)
        assert get("sharper", "rows", segment=name)["value"] == len(rows)
        assert get("sharper", "positives", segment=name)["value"] == rows["label"].sum()


def test_segments_have_paired_intervals_of_log_loss_and_auc(frame: pd.DataFrame, get: Get) -> None:
    own, base = part_of(frame, "sharper"), part_of(frame, "uniform")
    for segment in ("north", "south", "east"):
        losses = [
            sk.log_loss(part["label"], part["probability"])
            for part in (own[own["segment"] == segment], base[base["segment"] == segment])
        ]
        value = get("sharper", "log_loss", segment=segment)
        assert value["value"] == pytest.approx(losses[0], rel=1e-9)
        for name in ("log_loss", "auc"):
            difference = get("sharper", name, segment=segment, kind="difference")
            whole = get("sharper", name, kind="difference")
            assert difference["low"] <= difference["value"] <= difference["high"]
            # A part of the rows says less than all of them.
            width, whole_width = (d["high"] - d["low"] for d in (difference, whole))
            assert width > whole_width
        assert get("sharper", "log_loss", segment=segment, kind="difference")["value"] == (
            pytest.approx(losses[0] - losses[1], rel=1e-6)
        )


def test_a_segment_with_few_rows_of_a_label_has_values_but_no_intervals(
    frame: pd.DataFrame,
) -> None:
    few = frame["segment"].eq("far") & frame["label"].eq(1) & frame["split"].eq("test")
    strict = SECTION.model_copy(update={"max_segments": 5, "min_positives": int(1e6)})
    rows = measured(frame.assign(segment=frame["segment"]), strict, "uniform", SEED)
    assert few.any()
    parts = [r for r in rows if r["segment"] and r["name"] in ("auc", "log_loss")]
    assert {r["segment"] for r in parts} == {"north", "south", "east", "west", "far"}
    assert all(r["value"] is not None and r["low"] is None for r in parts)


def test_of_sampled_negatives_a_segment_counts_the_rows_that_are_left(frame: pd.DataFrame) -> None:
    own = frame.assign(judge="recorded", positive=1 - frame["label"], negative=10 * frame["label"])
    east = part_of(own, "uniform").query("segment == 'east'")
    left, positives = int((east["negative"] > 0).sum()), int(east["positive"].sum())
    section = SECTION.model_copy(update={"min_positives": left + 1})
    assert left < positives
    found = {
        (r["name"], r["kind"]): r
        for r in measured(own, section, "uniform", SEED)
        if (r["segment"], r["method"], r["split"]) == ("east", "uniform", "test")
    }
    assert found["rows", "value"]["value"] == len(east)
    assert found["positives", "value"]["value"] == positives
    assert found["log_loss", "value"]["value"] is not None
    assert found["log_loss", "value"]["low"] is None


def test_a_segment_of_a_single_group_has_values_but_neither_intervals_nor_p_values(
    frame: pd.DataFrame,
) -> None:
    far = frame["segment"].eq("far")
    group = frame["group_id"].where(~far, "one")
    section = SECTION.model_copy(update={"max_segments": 5, "min_positives": 1})
    rows = measured(frame.assign(group_id=group), section, "uniform", SEED)
    of_one = [r for r in rows if r["segment"] == "far" and r["name"] in ("auc", "log_loss")]
    assert {r["kind"] for r in of_one} == {"value", "difference"}
    assert all(r["value"] is not None for r in of_one)
    assert {r[key] for r in of_one for key in ("low", "high", "p")} == {None}
    others = [r for r in rows if r["segment"] == "east" and r["name"] == "log_loss"]
    assert None not in {r[key] for r in others for key in ("low", "high")}


def test_rows_of_one_group_for_the_most_part_have_no_intervals(frame: pd.DataFrame) -> None:
    # Such as all guests of a shop, under one number.
    rows_of_one = frame["sample_id"] % 5 < 4
    group = frame["group_id"].where(~rows_of_one, "guest")
    rows = measured(frame.assign(group_id=group), SECTION, "uniform", SEED)
    whole = [r for r in rows if r["segment"] is None and r["split"] == "test"]
    known = {r["value"] for r in whole if r["name"] == "effective_buckets"}
    assert len(known) == 1 and known.pop() == pytest.approx(1 / 0.8**2, rel=0.05)
    assert {r[key] for r in whole for key in ("low", "high", "p")} == {None}


def test_of_few_groups_two_equally_good_rankers_are_seldom_told_apart() -> None:
    called = []
    for seed in range(40):
        draw, groups, n = np.random.default_rng(seed), 3, 400
        group = np.arange(n) % groups
        truth = draw.normal(-0.5, 1, n)
        rows = pd.DataFrame({"split": "test", "sample_id": np.arange(n), "segment": None})
        rows = rows.assign(group_id=group, label=draw.random(n) < 1 / (1 + np.exp(-truth)))
        # Each errs by group, in directions of its own.
        frames = [
            rows.assign(method=m, probability=1 / (1 + np.exp(-truth - shift[group])))
            for m, shift in zip(("uniform", "other"), draw.normal(0, 0.8, (2, 3)), strict=True)
        ]
        found = measured(pd.concat(frames), SECTION, "uniform", seed)
        key = ("other", "log_loss", "difference", None)
        names = ("method", "name", "kind", "segment")
        row = next(r for r in found if tuple(r[k] for k in names) == key)
        called.append(row["p"] is not None and row["p"] < 0.05)
    assert np.mean(called) <= 0.15


def test_the_worst_group_is_the_segment_with_the_lowest_auc(rows: list[Row], get: Get) -> None:
    for method in METHODS:
        areas = {
            r["segment"]: r["value"]
            for r in rows
            if (r["method"], r["split"], r["name"]) == (method, "test", "auc")
            and r["segment"]
            and r["kind"] == "value"
        }
        assert set(areas) == {"north", "south", "east", "other"}
        assert get(method, "worst_group_auc")["value"] == min(areas.values())


def test_the_worst_log_loss_is_that_of_the_segment_that_is_predicted_worst(
    frame: pd.DataFrame, get: Get
) -> None:
    own = part_of(frame, "sharper")
    shown = own["segment"].where(own["segment"].isin(["north", "south", "east"]), "other")
    losses = [sk.log_loss(rows["label"], rows["probability"]) for _, rows in own.groupby(shown)]
    assert get("sharper", "worst_group_log_loss")["value"] == pytest.approx(max(losses), rel=1e-9)


def test_rows_in_memory_are_measured_as_rows_on_spark(frame: pd.DataFrame, rows: list[Row]) -> None:
    keys = ["method", "split", "segment", "name", "kind"]
    there = pd.DataFrame(rows).set_index(keys).sort_index()
    here = pd.DataFrame(measured(frame, SECTION, "uniform", SEED)).set_index(keys).sort_index()
    pd.testing.assert_index_equal(here.index, there.index)
    # Items of equal score are shown in an order of chance.
    ties = there.index.get_level_values("name").str.startswith("ndcg")
    sure = ~ties | (there.index.get_level_values("method") == "sharper")
    sure &= ~ties | (there.index.get_level_values("kind") == "value")
    # Groups are hashed to other buckets.
    sure &= there.index.get_level_values("name") != "effective_buckets"
    np.testing.assert_allclose(
        here["value"][sure].astype(float), there["value"][sure].astype(float), rtol=1e-9, atol=1e-12
    )
    # So intervals are as wide, and not the same.
    width = [(f["high"] - f["low"]).astype(float) for f in (here, there)]
    known = width[1] > 0
    assert known.sum() > 50
    assert 0.85 < float((width[0][known] / width[1][known]).median()) < 1.15


def test_segments_with_few_positives_do_not_count_as_the_worst(
    predictions: DataFrame, rows: list[Row]
) -> None:
    positives = {
        r["segment"]: r["value"]
        for r in rows
        if (r["method"], r["split"], r["name"]) == ("uniform", "test", "positives")
    }
    most = max(value for segment, value in positives.items() if segment)
    strict = SECTION.model_copy(update={"min_positives": int(most) + 1})
    worst = [
        r["value"]
        for r in measure(reduce_predictions(predictions, strict, SEED).values, strict, "uniform")
        if r["name"] == "worst_group_auc" and r["kind"] == "value"
    ]
    assert worst == [None] * 8


def test_intervals_hold_their_values(rows: list[Row]) -> None:
    measured = [r for r in rows if r["low"] is not None]
    assert len(measured) >= 2 * 3 * 12
    for row in measured:
        assert row["low"] <= row["high"]
    values = [r for r in measured if r["name"] in ("auc", "log_loss", "brier", "gauc")]
    # What differs by nothing does so to the last bits of sums, whose order is the machine's.
    assert all(r["low"] - 1e-12 <= r["value"] <= r["high"] + 1e-12 for r in values)


def test_differences_are_those_of_the_values(rows: list[Row], get: Get) -> None:
    differences = [r for r in rows if r["kind"] == "difference"]
    assert {r["method"] for r in differences} == {"same", "sharper", "uniform_recalibrated"}
    assert not {"rows", "positives", "groups_left_out"} & {r["name"] for r in differences}
    for row in differences:
        own, base = (
            get(method, row["name"], row["split"], row["segment"])["value"]
            for method in (row["method"], "uniform")
        )
        assert row["value"] == pytest.approx(own - base, abs=1e-12)


def test_equal_predictions_differ_by_nothing_at_all(rows: list[Row]) -> None:
    same = [r for r in rows if r["kind"] == "difference" and r["method"] == "same"]
    # Three of them for each of the four segments as well.
    assert len(same) == 2 * (19 + 4 * 3)
    # Sums over rows in another order differ in their last bits.
    for row in same:
        assert (row["value"], row["low"], row["high"]) == pytest.approx((0, 0, 0), abs=1e-12)
        assert row["p"] == 1


def test_differences_are_paired_and_clustered_by_group(frame: pd.DataFrame, get: Get) -> None:
    own, base = part_of(frame, "sharper"), part_of(frame, "uniform")

    def losses(rows: pd.DataFrame) -> np.ndarray:
        y, p = rows["label"].to_numpy(), rows["probability"].to_numpy()
        return np.asarray(-np.log(np.where(y == 1, p, 1 - p)))

    less = losses(own) - losses(base)
    by_group = pd.Series(less - less.mean()).groupby(own["group_id"].to_numpy()).sum()
    error = math.sqrt((by_group**2).sum()) / ROWS  # the cluster-robust standard error
    row = get("sharper", "log_loss", kind="difference")
    assert row["value"] == pytest.approx(less.mean(), rel=1e-9)
    assert row["high"] < 0
    assert (row["high"] - row["low"]) / (2 * 1.96) == pytest.approx(error, rel=0.25)


def test_a_sure_difference_must_also_be_surely_larger_than_what_matters(found: Reduced) -> None:
    def p_of(name: str, smallest: float) -> float:
        section = SECTION.model_copy(update={"smallest_difference": smallest})
        rows = measure(found.values, section, "uniform")
        key = ("sharper", "test", None, name, "difference")
        keys = ("method", "split", "segment", "name", "kind")
        return next(float(r["p"]) for r in rows if tuple(r[k] for k in keys) == key)

    loss = found.values.set_index(["method", "split", "name"])["value"]
    loss = loss[found.values["segment"].isna().to_numpy()]
    base, own = loss["uniform", "test", "log_loss"], loss["sharper", "test", "log_loss"]
    share = (base - own) / base
    assert p_of("log_loss", 0) < 1e-6
    assert p_of("log_loss", 0.9 * share) > p_of("log_loss", 0.5 * share) > p_of("log_loss", 0)
    # Half of all differences are measured larger than they are.
    assert p_of("log_loss", share - 1e-9) == pytest.approx(0.5, abs=1e-3)
    assert p_of("log_loss", share + 1e-9) == 1
    # Metrics without a loss are not measured in it.
    assert p_of("auc", 0.5) == p_of("auc", 0)


def test_the_better_method_is_told_apart(get: Get) -> None:
    assert get("sharper", "auc", kind="difference")["low"] > 0
    assert get("sharper", "brier", kind="difference")["high"] < 0


def test_the_baseline_decides_what_differences_are_taken_to(found: Reduced, get: Get) -> None:
    turned = {
        (r["method"], r["name"]): r
        for r in measure(found.values, SECTION, "sharper")
        if r["kind"] == "difference" and r["split"] == "test" and r["segment"] is None
    }
    assert {method for method, _ in turned} == {"uniform", "same", "uniform_recalibrated"}
    one, other = get("sharper", "auc", kind="difference"), turned["uniform", "auc"]
    assert other["value"] == pytest.approx(-one["value"])
    assert (other["low"], other["high"]) == pytest.approx((-one["high"], -one["low"]))


def test_the_same_seed_gives_the_same_intervals(predictions: DataFrame, rows: list[Row]) -> None:
    same, other = (
        measure(reduce_predictions(predictions, SECTION, seed).values, SECTION, "uniform")
        for seed in (SEED, SEED + 1)
    )
    assert_rows(same, rows)
    one, two = (
        next(r for r in found if (r["method"], r["name"]) == ("sharper", "auc"))
        for found in (rows, other)
    )
    assert one["value"] == two["value"]
    assert (one["low"], one["high"]) != (two["low"], two["high"])


def assert_rows(one: list[Row], other: list[Row]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left == {
            key: pytest.approx(value, abs=1e-9) if isinstance(value, float) else value
            for key, value in right.items()
        }


def test_metrics_do_not_depend_on_how_rows_are_partitioned(
    predictions: DataFrame, found: Reduced, rows: list[Row]
) -> None:
    moved = reduce_predictions(predictions.repartition(5, "probability"), SECTION, SEED)
    assert moved.thresholds == found.thresholds
    assert_rows(measure(moved.values, SECTION, "uniform"), rows)


def test_test_labels_do_not_reach_the_threshold(
    spark: SparkSession, found: Reduced, get: Get
) -> None:
    turned = predictions_of(test_label_seed=9)
    turned["segment"] = None
    other = reduce_predictions(spark.createDataFrame(turned, SCHEMA), SECTION, SEED)
    assert other.thresholds == found.thresholds
    measured = {
        (r["split"], r["segment"], r["name"]): r["value"]
        for r in measure(other.values, SECTION, "uniform")
        if r["method"] == "sharper" and r["kind"] == "value"
    }
    for name in ("macro_precision", "auc", "log_loss"):
        before = get("sharper", name, "validation")["value"]
        assert measured["validation", None, name] == pytest.approx(before, rel=1e-9)
        assert measured["test", None, name] != pytest.approx(get("sharper", name)["value"], rel=0.1)
    # Rows without a segment are one segment.
    assert {segment for _, segment, _ in measured} == {None, "all"}
    assert measured["test", None, "worst_group_auc"] == measured["test", "all", "auc"]


def test_curves_are_those_of_the_rows(frame: pd.DataFrame, found: Reduced) -> None:
    drawn = curves(found)
    assert set(drawn) == set(METHODS)
    own = part_of(frame, "sharper")
    y, p = own["label"].to_numpy(), own["probability"].to_numpy()
    false, true = (np.array(x) for x in drawn["sharper"]["test"]["roc"])
    assert (false[0], true[0]) == (1, 1)
    assert sk.auc(false, true) == pytest.approx(sk.roc_auc_score(y, p), abs=0.01)
    recall, precision = (np.array(x) for x in drawn["sharper"]["test"]["pr"])
    place = int(np.argmin(abs(recall - 0.5)))
    wanted = sk.precision_recall_curve(y, p)
    assert precision[place] == pytest.approx(
        np.interp(recall[place], wanted[1][::-1], wanted[0][::-1]), abs=0.02
    )
    predicted, observed, rows = (np.array(x) for x in drawn["sharper"]["test"]["calibration"])
    assert rows.sum() == ROWS
    assert (np.diff(predicted) > 0).all()
    assert (predicted * rows).sum() == pytest.approx(p.sum())
    assert (observed * rows).sum() == pytest.approx(y.sum())


def test_of_one_group_metrics_are_told_and_intervals_are_not(frame: pd.DataFrame, get: Get) -> None:
    rows = measured(frame.assign(group_id="all"), SECTION, "uniform", SEED)
    by_name = {(r["method"], r["split"], r["name"], r["kind"], r["segment"]): r for r in rows}
    one = by_name["sharper", "test", "log_loss", "value", None]
    assert one["value"] == pytest.approx(get("sharper", "log_loss")["value"])
    assert {row[side] for row in rows for side in ("low", "high")} == {None}
