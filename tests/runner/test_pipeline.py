"""The whole line on a small simulated log: what every stage promises of its tables."""

import json

import numpy as np
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.config import Run
from reweight.core.run_folder import read_records
from reweight.core.tables import EVENTS, METRICS, PREDICTIONS, REJECTED, SAMPLES, TRUTH, WEIGHTS
from reweight.runner.pipeline import PIPELINE

METHODS = [
    "uniform",
    "random",
    "class_balanced",
    "importance_mlp_reference",
    "importance_mlp_robust",
]


def test_every_stage_leaves_a_record_of_what_it_read_and_wrote(run: Run) -> None:
    names = [stage.__name__ for stage in PIPELINE]
    # Stages that are no part of the line may have looked at the run since.
    records = {name: r for name, r in read_records(run.folder).items() if name in names}
    assert list(records) == names
    assert {r["status"] for r in records.values()} == {"done"}
    assert {r["config_hash"] for r in records.values()} == {run.config.hash()}
    assert {name: list(r["logs"]) for name, r in records.items() if r["logs"]} == {
        "clean_logs": ["sources.log"],
        "report": ["diagnosis"],
    }
    assert records["build_samples"]["inputs"].keys() == {"events"}
    assert records["train_ranker"]["inputs"].keys() == {"samples", "weights"}
    assert records["train_ranker"]["outputs"].keys() == {"predictions"}


def test_the_commits_of_a_table_say_who_wrote_them_from_what(run: Run) -> None:
    history = run.store.history(WEIGHTS, 100)
    said = [json.loads(entry["userMetadata"]) for entry in history if entry["userMetadata"]]
    own = next(entry for entry in said if entry["run_id"] == "first")
    assert own["stage"] == "score_weights"
    assert own["config_hash"] == run.config.hash()
    assert own["inputs"].keys() == {"samples"}


def test_raw_rows_are_events_or_rejected_and_every_planted_fault_is_found(run: Run) -> None:
    records = read_records(run.folder)
    planted = records["simulate_logs"]["summary"]
    cleaned = records["clean_logs"]["summary"]
    raw = run.spark.read.text(str(run.config.simulation.path)).count()  # type: ignore[union-attr]
    events, rejected = run.store.read(EVENTS).count(), run.store.read(REJECTED).count()
    assert raw == planted["raw lines"] == cleaned["raw"] == events + rejected
    assert rejected == sum(planted["planted"].values())
    assert events == sum(planted["events"].values())


def test_a_sample_is_positive_when_its_purchase_was_recorded_within_the_window(run: Run) -> None:
    samples = run.store.read(SAMPLES)
    log_end = run.store.read(EVENTS).agg(F.max("event_time")).first()[0]  # type: ignore[index]
    # The truth knows of each shown item whether and when it is bought; cleaning hashes its id.
    truth = run.store.read(TRUTH).select(
        F.xxhash64("impression_id").alias("sample_id"), "would_buy", "recorded", "delay_hours"
    )
    joined = samples.join(truth, on="sample_id", how="left")
    assert joined.where("would_buy is null").count() == 0
    in_time = F.col("would_buy") & F.col("recorded") & (F.col("delay_hours") < 71.9)
    arrived = F.col("event_time") + F.make_dt_interval(days=F.lit(3)) < F.lit(log_end)
    missed = joined.where(in_time & arrived & (F.col("label") == 0)).count()
    bought = joined.where(in_time & arrived).count()
    # Purchases of the dirt that was planted (a null id, an impossible price) are not events.
    assert bought > 50
    assert missed < 0.05 * bought


def test_samples_are_unique_and_their_splits_do_not_overlap_in_time(run: Run) -> None:
    samples = run.store.read(SAMPLES)
    assert samples.count() == samples.select("sample_id").distinct().count()
    spans = {
        row["split"]: row
        for row in samples.groupBy("split")
        .agg(F.min("event_time").alias("low"), F.max("event_time").alias("high"))
        .collect()
    }
    for early, late in (("train", "validation"), ("validation", "test")):
        # A label of the earlier part is decided before the later part begins.
        assert (spans[late]["low"] - spans[early]["high"]).total_seconds() >= 3 * 86400
    assert samples.where("split in ('train', 'validation', 'test') and not mature").isEmpty()
    assert samples.where("target and split <> 'train'").isEmpty()


def test_every_sample_has_a_weight_by_every_method_and_train_has_mean_1(run: Run) -> None:
    weights, samples = run.store.read(WEIGHTS), run.store.read(SAMPLES)
    counts = {row["method"]: row["count"] for row in weights.groupBy("method").count().collect()}
    assert counts == dict.fromkeys(METHODS, samples.count())
    train = weights.join(samples.where("split = 'train'"), on="sample_id", how="left_semi")
    means = train.groupBy("method").agg(F.avg("weight").alias("mean")).collect()
    assert [row["mean"] for row in means] == pytest.approx([1.0] * len(METHODS))


def test_predictions_are_of_validation_and_test_rows_alone(run: Run) -> None:
    predicted = run.store.read(PREDICTIONS).groupBy("method", "split").count().collect()
    parts = {row["split"]: row["count"] for row in _counts(run.store.read(SAMPLES), "split")}
    expected = {(m, s): parts[s] for m in METHODS for s in ("validation", "test")}
    assert {(row["method"], row["split"]): row["count"] for row in predicted} == expected


@pytest.mark.parametrize("judge", ["truth", "position", "recorded"])
def test_metrics_hold_values_and_differences_with_intervals(run: Run, judge: str) -> None:
    metrics = run.store.read(METRICS).where("segment is null and split = 'test'").toPandas()
    metrics = metrics[metrics["judge"] == judge]
    values = metrics[metrics["kind"] == "value"].set_index(["method", "name"])["value"]
    less = metrics[metrics["kind"] == "difference"].set_index(["method", "name"])
    expected_methods = {*METHODS, "uniform_recalibrated"} - {"uniform"}
    assert set(less.index.get_level_values("method")) == expected_methods
    for method in METHODS[1:]:
        row = less.loc[(method, "log_loss")]
        expected = values[method, "log_loss"] - values["uniform", "log_loss"]
        assert row["value"] == pytest.approx(expected)
        assert row["low"] <= row["value"] <= row["high"]
    # The free alternative: the ranking of uniform weights, with its level repaired.
    assert values["uniform_recalibrated", "log_loss"] == values["uniform", "ranking_log_loss"]
    assert values["uniform_recalibrated", "level_log_loss"] == 0


def test_the_truth_judges_people_and_the_record_everything(run: Run) -> None:
    metrics = run.store.read(METRICS).where("segment is null and split = 'test'").toPandas()
    rows = metrics[(metrics["method"] == "uniform") & (metrics["kind"] == "value")]
    of = rows.set_index(["judge", "name"])["value"]
    assert 0 < of["truth", "rows"] < of["recorded", "rows"] == of["position", "rows"]
    # Items that nobody looked at are wanted too.
    assert of["truth", "positives"] > of["recorded", "positives"]
    assert of["position", "effective_positives"] < of["recorded", "effective_positives"]


def test_the_decision_is_one_of_the_methods_by_a_judge(run: Run) -> None:
    decision = json.loads(run.folder.decision.read_text())
    assert decision["weights"] in METHODS
    assert decision["judge"] in ("truth", "position", "recorded", None)
    content = json.loads(run.folder.content("report").read_text())
    assert decision["text"] in content["verdict"]["text"]
    assert list(content["by_judge"]) == ["truth", "position", "recorded"]


def test_the_report_is_one_file_that_names_every_method_and_table_version(run: Run) -> None:
    text = (run.folder.page("report")).read_text()
    for word in (*METHODS, "samples@", "weights@"):
        assert word in text
    assert "src=" not in text
    assert "https://" not in text.replace("https://matplotlib.org", "")
    content = json.loads((run.folder.content("report")).read_text())
    assert content["verdict"]["text"] in text


def test_a_model_folder_stands_alone(run: Run) -> None:
    for method in METHODS:
        files = {path.name for path in (run.folder.models.model(method)).iterdir()}
        assert {"model.json", "model.safetensors", "features.json", "policy.json"} <= files


def test_importance_of_the_network_differs_between_rows(run: Run) -> None:
    rows = run.store.read(WEIGHTS).where("method = 'importance_mlp_robust'").toPandas()
    assert np.isfinite(rows["importance"]).all()
    assert rows["importance"].std() > 1e-3


def _counts(frame: DataFrame, column: str) -> list:  # type: ignore[type-arg]
    return frame.groupBy(column).count().collect()
