"""A cell: what methods are given, how they are judged, and what becomes of one that fails."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from reweight.benchmark.detection import detection
from reweight.benchmark.detection.detection import curves, judged
from reweight.benchmark.detection.draws import drawn
from reweight.benchmark.detection.protocol import FOREST, Benchmark, Cell, cells
from reweight.benchmark.detection.public import Data, PublicTable
from reweight.importance.base import ImportanceMethod
from reweight.importance.methods import Method

SIZES = {"train": 200, "validation": 40, "test": 300}
BENCHMARK = Benchmark(
    tables={"line": PublicTable(path="line.csv", label="y")},
    trees=30,
    removed=(0.1, 0.3),
    method_seeds=2,
    **SIZES,
)
CELL = Cell("line", "uniform", 0.1, 0)


def line(rows: int = 700) -> Data:
    """Two clouds that a line tells apart."""
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, rows)
    features = generator.normal(size=(rows, 3)) + 3 * label[:, None]
    return Data.of(features, generator.integers(0, 4, (rows, 1)), label)


DATA = line()


def methods(*values: dict[str, Any]) -> list[ImportanceMethod]:
    return [TypeAdapter(Method).validate_python(value) for value in values]


SMALL = {"members": 8, "epochs": 15, "hidden": [16], "learning_rate": 0.01}
CONFIDENCE = {"method": "self_confidence", "training": SMALL}


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], list[dict[str, Any]]]:
    found = judged(
        CELL,
        DATA,
        methods(
            CONFIDENCE,
            # Its margin has no logarithm, and it shares the training of the other.
            CONFIDENCE | {"name": "margin", "margin": True},
            {"method": "random"},
            {"method": "uniform"},
            {"method": "importance_mlp", "preset": "reference", "name": "bad"}
            | {"training": {"learning_rate": 1e30, "epochs": 3}},
        ),
        BENCHMARK,
    )
    by: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found:
        by.setdefault((row["method"], row["name"]), []).append(row)
    return by


def value(rows: dict[tuple[str, str], list[dict[str, Any]]], method: str, name: str) -> float:
    (row,) = rows[method, name]
    return float(row["value"])


def test_rows_are_drawn_apart_and_damaged_to_the_exact_count() -> None:
    draw = drawn(CELL, DATA, BENCHMARK)
    assert [len(d) for d in (draw.train, draw.validation, draw.test)] == list(SIZES.values())
    assert draw.wrong.sum() == 20
    parts = [draw.train, draw.validation, draw.test]
    seen = {tuple(row) for part in parts for row in part.features.tolist()}
    assert len(seen) == sum(SIZES.values())


def test_draws_of_a_seed_are_the_same_rows_whatever_the_damage() -> None:
    one = drawn(CELL, DATA, BENCHMARK)
    other = drawn(Cell("line", "by_difficulty", 0.2, 0), DATA, BENCHMARK)
    np.testing.assert_array_equal(one.train.features, other.train.features)
    np.testing.assert_array_equal(one.test.label, other.test.label)
    third = drawn(Cell("line", "uniform", 0.1, 1), DATA, BENCHMARK)
    assert (one.train.features != third.train.features).any()


def test_controls_and_the_baseline_are_where_they_must_be(rows: Any) -> None:
    assert value(rows, "uniform", "auroc") == 0.5
    assert value(rows, "oracle", "auroc") == 1.0
    assert value(rows, "random", "auroc") == pytest.approx(0.5, abs=0.2)
    assert value(rows, FOREST, "auroc") > 0.9


def test_a_method_that_sees_the_label_finds_wrong_ones(rows: Any) -> None:
    assert value(rows, "self_confidence", "auroc") > 0.95
    assert value(rows, "self_confidence", "f1_two_means") > 0.8


def test_methods_of_one_training_share_it(rows: Any) -> None:
    # Equal to the last digit: one fit, timed once, and the margin orders rows alike.
    for name in ("fit_seconds", "auroc"):
        assert value(rows, "self_confidence", name) == value(rows, "margin", name)


def test_a_method_that_fails_is_a_row_with_its_reason_and_spoils_nothing(rows: Any) -> None:
    assert {name for method, name in rows if method == "bad"} == {"failed"}
    (row,) = rows["bad", "failed"]
    assert row["value"] is None
    assert "diverged" in row["reason"]
    assert row["table"] == "line"


def test_a_method_that_needs_what_a_table_has_not_says_so() -> None:
    class Placed(type(methods({"method": "random"})[0])):  # type: ignore[misc]
        needs = ("position",)

    draw = drawn(CELL, DATA, BENCHMARK)
    (found, _) = detection.values(draw, [Placed()], 0, BENCHMARK)
    assert found.value is None
    assert "position" in str(found.reason)


def test_target_rows_are_the_validation_rows() -> None:
    draw = drawn(CELL, DATA, BENCHMARK)
    train, validation = detection._batches(draw, {"target"})
    assert len(train) == 240
    assert train.extra["target"].tolist() == [0.0] * 200 + [1.0] * 40
    assert train.sample_id[200:].tolist() == validation.sample_id.tolist()
    plain, _ = detection._batches(draw, set())
    assert len(plain) == 200


def test_what_is_hard_counts_as_suspect() -> None:
    draw = drawn(CELL, DATA, BENCHMARK)
    (el2n, _) = detection.values(
        draw, methods({"method": "el2n", "training": SMALL, "keep": {"count": 3}}), 0, BENCHMARK
    )
    assert el2n.value is not None
    assert el2n.value[draw.wrong].mean() < el2n.value[~draw.wrong].mean()


def test_a_product_is_made_of_the_values_of_its_parts() -> None:
    pair = {"method": "product", "of": ["self_confidence", "random"]}
    lame = {"method": "product", "name": "lame", "of": ["self_confidence", "bad"]}
    bad = {"method": "value_weighted", "name": "bad"}
    wanted = methods(pair, lame, bad, CONFIDENCE, {"method": "random"})
    found = {
        one.method: one
        for one in detection.values(drawn(CELL, DATA, BENCHMARK), wanted, 0, BENCHMARK)
    }
    parts = [found[name].value for name in ("self_confidence", "random")]
    assert parts[0] is not None
    assert parts[1] is not None
    np.testing.assert_allclose(found["product"].value, parts[0] * parts[1], rtol=1e-6)
    assert found["lame"].reason == "the method 'bad' that it combines failed"
    assert "['value']" in (found["bad"].reason or "")


def test_stability_is_told_of_the_first_draw_alone(rows: Any) -> None:
    assert value(rows, "self_confidence", "stability") > 0.5
    assert abs(value(rows, "random", "stability")) < 0.3
    assert ("uniform", "stability") not in rows
    later = judged(replace(CELL, seed=1), DATA, methods({"method": "random"}), BENCHMARK)
    assert "stability" not in {row["name"] for row in later}


def test_removing_what_the_oracle_calls_wrong_helps_and_the_curve_begins_at_all_rows() -> None:
    draw = drawn(Cell("line", "uniform", 0.3, 0), DATA, BENCHMARK)
    found = {(n, s): v for n, s, v in curves(1.0 - draw.wrong, draw, (0.3,))}
    assert found["log_loss_without_lowest", 0.3] < found["log_loss_without_lowest", 0.0]
    assert found["log_loss_without_highest", 0.3] > found["log_loss_without_highest", 0.0]
    for name in ("log_loss", "accuracy"):
        assert found[f"{name}_without_lowest", 0.0] == found[f"{name}_without_highest", 0.0]


def test_curves_go_on_when_one_class_is_left() -> None:
    draw = drawn(CELL, DATA, BENCHMARK)
    positives_first = 1.0 - draw.train.label
    found = list(curves(positives_first, draw, (0.7,)))
    assert all(np.isfinite(v) for _, _, v in found)


def test_a_table_that_is_too_small_fails_every_method_with_the_count() -> None:
    found = judged(CELL, line(100), methods({"method": "random"}), BENCHMARK)
    assert {row["method"] for row in found} == {"random", "oracle", FOREST}
    assert {row["name"] for row in found} == {"failed"}
    assert all("too small" in row["reason"] for row in found)


def test_cells_are_all_combinations_draw_by_draw_and_their_keys_differ() -> None:
    wanted = Benchmark(
        tables={n: PublicTable(path=n, label="y") for n in ("a", "b")},
        damages=("uniform", "by_class"),
        rates=(0.1, 0.2),
        seeds=2,
    )
    found = list(cells(wanted))
    assert len(found) == 2 * 2 * 2 * 2
    assert [c.seed for c in found] == [0] * 8 + [1] * 8
    keys = {c.key(wanted.identity(c.table), "methods") for c in found}
    assert len(keys) == 16
    assert keys.isdisjoint({c.key(wanted.identity(c.table), "others") for c in found})
    # More seeds are more cells, and leave those that are there as they are.
    more = wanted.model_copy(update={"seeds": 3})
    assert keys < {c.key(more.identity(c.table), "methods") for c in cells(more)}


def test_rankers_on_the_weights_are_judged_on_clean_rows() -> None:
    rankers: Any = [{"ranker": "logistic_regression"}, {"ranker": "lightgbm", "trees": 20}]
    section = Benchmark.model_validate(
        BENCHMARK.model_dump() | {"rankers": rankers, "method_seeds": 0, "removed": [0.1]}
    )
    cell = Cell("line", "uniform", 0.4, 0)
    found = judged(cell, DATA, methods({"method": "random"}, {"method": "uniform"}), section)
    areas = {
        (row["method"], row["name"]): row["value"] for row in found if row["name"][:4] == "auc_"
    }
    assert {name for _, name in areas} == {"auc_logistic_regression", "auc_lightgbm"}
    # The forest gives no weights.
    assert {method for method, _ in areas} == {"random", "uniform", "oracle"}
    draw = drawn(cell, DATA, section)
    right = ~draw.wrong
    clean = LogisticRegression(C=1.0).fit(draw.train.matrix()[right], draw.train.label[right])
    area = roc_auc_score(draw.test.label, clean.predict_proba(draw.test.matrix())[:, 1])
    assert areas["oracle", "auc_logistic_regression"] == pytest.approx(area, abs=2e-3)
    assert areas["oracle", "auc_lightgbm"] > areas["uniform", "auc_lightgbm"] + 0.02
    # Another list of rankers is another result.
    assert section.identity("line") != BENCHMARK.identity("line")
