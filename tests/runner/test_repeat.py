"""The same log gives the same tables, however it is cut; models serve later runs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import Run
from reweight.core.errors import TrainingError
from reweight.core.run_folder import ModelsFolder, read_records
from reweight.core.tables import EVENTS, PREDICTIONS, REJECTED, SAMPLES, WEIGHTS, Table
from reweight.fit_importance.fit import fit_methods, training_plan
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.preconditions import training_facts
from reweight.fit_importance.stage import fit_importance
from reweight.importance.artifact import ModelArtifact
from reweight.importance.training import TrainFacts
from reweight.runner.records import run_stage
from reweight.score_weights.scoring import scored
from reweight.score_weights.stage import score_weights
from reweight.train_ranker.stage import train_ranker

# Two ranks are launched even so, as that of the finished run was.
pytestmark = pytest.mark.usefixtures("ranks_here")

OpenRun = Callable[..., Run]


@pytest.fixture(scope="module")
def again(run: Run, open_run: OpenRun) -> Iterator[Run]:
    """The same log again with 5 partitions for 2, and 2 ranks for 1."""
    run.spark.conf.set("spark.sql.shuffle.partitions", "5")
    run.spark.conf.set("spark.sql.files.maxPartitionBytes", "131072")
    opened = open_run("again", "fitting.ranks=2")
    for stage in (clean_logs, build_samples, fit_importance, score_weights, train_ranker):
        run_stage(opened, stage)
    yield opened
    run.spark.conf.set("spark.sql.shuffle.partitions", "2")
    run.spark.conf.unset("spark.sql.files.maxPartitionBytes")


@pytest.mark.parametrize("table", [EVENTS, REJECTED, SAMPLES], ids=lambda table: table.name)
def test_tables_before_training_are_equal_to_the_last_bit(
    run: Run, again: Run, table: Table
) -> None:
    assert _content(run.store.read(table)) == _content(again.store.read(table))


def test_importance_and_weights_are_equal_to_tolerance(run: Run, again: Run) -> None:
    first, second = (_sorted(r.store.read(WEIGHTS)) for r in (run, again))
    assert len(first) == len(second)
    for column in ("importance", "weight"):
        np.testing.assert_allclose(first[column], second[column], rtol=2e-3, atol=1e-4)


def test_predictions_are_equal_to_tolerance(run: Run, again: Run) -> None:
    first, second = (_sorted(r.store.read(PREDICTIONS)) for r in (run, again))
    np.testing.assert_allclose(first["probability"], second["probability"], atol=1e-3)


def test_a_finished_training_is_not_done_twice(again: Run) -> None:
    before = _losses(again)
    run_stage(again, fit_importance)
    # The checkpoint holds every epoch, so even the seconds are those of the first time.
    assert _losses(again) == before


def test_models_of_a_run_weigh_the_rows_of_a_later_one(run: Run, open_run: OpenRun) -> None:
    later = open_run("later", "model_run_id=first")
    later.store.write(EVENTS, run.store.read(EVENTS))
    for stage in (build_samples, fit_importance, score_weights):
        run_stage(later, stage)
    assert "skipped" in read_records(later.folder)["fit_importance"]["summary"]
    first, second = (_sorted(r.store.read(WEIGHTS)) for r in (run, later))
    for column in ("importance", "weight"):
        np.testing.assert_allclose(first[column], second[column], rtol=1e-6)
    assert first["in_sample"].any()
    assert not second["in_sample"].any()


def test_more_ranks_than_slots_fail_in_seconds_with_both_numbers(
    run: Run, open_run: OpenRun
) -> None:
    many = open_run("first", "fitting.ranks=16", "fitting.shards=16")
    before = _content(run.store.read(WEIGHTS))
    record = run.folder.record("fit_importance")
    of_the_run = record.read_text()
    with pytest.raises(TrainingError, match="fewer slots than ranks") as caught:
        run_stage(many, fit_importance)
    assert "16 free cores" in str(caught.value)
    assert read_records(many.folder)["fit_importance"]["status"] == "failed"
    record.write_text(of_the_run)
    assert _content(many.store.read(WEIGHTS)) == before


def test_methods_share_a_training_on_encoded_features_and_read_further_columns(
    run: Run, open_run: OpenRun, tmp_path: Path
) -> None:
    training = "training: {members: 2, hidden: [4], epochs: 2}"
    other = open_run(
        "first",
        f"importance=[{{method: self_confidence, {training}}}, "
        f"{{method: self_confidence, name: margin, margin: true, {training}}}, "
        f"{{method: tracin, {training}}}]",
    )
    methods = tuple(m for m in other.config.importance if m.learns())
    samples = run.store.read(SAMPLES)
    summary = fit_methods(FitJob.of(other), samples, methods, ModelsFolder(tmp_path))
    assert summary["training loss"].keys() == {"self_confidence"}
    models = {m.name: ModelArtifact.read(tmp_path / m.name) for m in methods}
    facts = TrainFacts.model_validate_json(models["tracin"].facts)
    assert len(facts.quantiles) == facts.dim
    assert {len(cuts) for cuts in facts.quantiles} == {4}
    rows = scored(samples.where("split = 'train'"), models, ("sample_id",)).toPandas()
    assert np.isfinite(rows[list(models)]).all(axis=None)
    np.testing.assert_allclose(rows["margin"], 2 * rows["self_confidence"] - 1, atol=1e-5)
    assert rows["tracin"].nunique() > 100


def test_methods_weigh_segments_and_values_of_the_samples_and_a_product_multiplies_them(
    run: Run, open_run: OpenRun, tmp_path: Path
) -> None:
    other = open_run(
        "first",
        "importance=[{method: product, of: [reweighing, value_weighted]}, {method: reweighing}, "
        "{method: rake}, {method: value_weighted, cap: 25}, "
        "{method: group_dro, training: {hidden: [4], epochs: 2}}]",
    )
    third = F.pmod("sample_id", F.lit(3)).cast("int")
    # The last third has no segment.
    samples = (
        run.store.read(SAMPLES)
        .withColumn(
            "segment", F.element_at(F.array(F.lit("a"), F.lit("b"), F.lit(None)), third + 1)
        )
        .withColumn("value", F.when(F.col("label") == 1, 10.0 * (third + 1)))
    )
    fit_methods(FitJob.of(other), samples, other.config.importance, ModelsFolder(tmp_path))
    models = {m.name: ModelArtifact.read(tmp_path / m.name) for m in other.config.importance}
    keep = ("sample_id", "segment", "label", "value", "target")
    rows = scored(samples.where("split = 'train'"), models, keep).toPandas()
    rows["segment"] = rows["segment"].fillna("none")
    joint = pd.crosstab(rows["segment"], rows["label"], normalize=True)
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0)) / joint
    wanted = [independent.loc[s, y] for s, y in zip(rows["segment"], rows["label"], strict=True)]
    np.testing.assert_allclose(rows["reweighing"], wanted, rtol=1e-5)
    value = rows["value"].clip(upper=25).where(rows["label"] == 1, 1.0)
    np.testing.assert_allclose(rows["value_weighted"], value, rtol=1e-6)
    assert set(value) == {1.0, 10.0, 20.0, 25.0}
    np.testing.assert_allclose(rows["product"], rows["reweighing"] * value, rtol=1e-5)
    for margin in ("segment", "label"):
        raked = rows.groupby(margin)["rake"].sum() / len(rows)
        share = rows.loc[rows["target"], margin].value_counts(normalize=True)
        np.testing.assert_allclose(raked, share.reindex(raked.index, fill_value=0), rtol=1e-5)
    assert (rows.groupby("segment")["group_dro"].nunique() == 1).all()
    assert rows["group_dro"].mean() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("segment", "came"),
    [("cast(sample_id AS string)", "more than 1000"), ("cast(null AS string)", "none")],
)
def test_segments_that_are_none_or_too_many_are_refused_before_the_training(
    run: Run, open_run: OpenRun, tmp_path: Path, segment: str, came: str
) -> None:
    other = open_run("first", "importance=[{method: reweighing}]")
    samples = run.store.read(SAMPLES).withColumn("segment", F.expr(segment))
    with pytest.raises(TrainingError, match="segments cannot be weighted") as caught:
        fit_methods(FitJob.of(other), samples, other.config.importance, ModelsFolder(tmp_path))
    assert f"got:      {came}" in str(caught.value)


def test_a_training_of_another_seed_other_settings_names_or_code_is_a_new_one(
    run: Run, open_run: OpenRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, keys = run.store.read(SAMPLES), []
    trained = ModelsFolder(tmp_path)
    for code, overrides in (
        ("old", ()),
        ("old", ("seed=8",)),
        ("old", ("importance.0.training.epochs=2",)),
        ("new", ("importance.0.training.epochs=2",)),
    ):
        monkeypatch.setitem(fit_methods.__globals__, "revision", lambda code=code: code)
        small = "{method: self_confidence, training: {members: 2, hidden: [2], epochs: 1}}"
        other = open_run("first", f"importance=[{small}]", *overrides)
        job, methods = FitJob.of(other), tuple(m for m in other.config.importance if m.trained)
        facts = training_facts(job, samples, methods)
        keys.append(training_plan(job, samples, facts, methods, trained).key)
    assert len(set(keys)) == 4
    # A model has the names of its features beside their statistics.
    renamed = facts.model_copy(update={"names": tuple(f"{name}_2" for name in facts.names)})
    assert training_plan(job, samples, renamed, methods, trained).key not in keys
    # The last one is trained; then, as by other code, the models that are there are not taken.
    for epochs, key in ((2, keys[3]), (1, None)):
        changed = open_run(
            "first", f"importance=[{small}]", f"importance.0.training.epochs={epochs}"
        )
        fit_methods(FitJob.of(changed), samples, changed.config.importance, trained)
        assert key is None or json.loads(trained.fitted.read_text()) == key
        curve = json.loads(trained.curves.read_text())["self_confidence"]
        assert len(curve) == epochs


def test_methods_that_cut_features_into_different_bins_are_refused(
    run: Run, open_run: OpenRun, tmp_path: Path
) -> None:
    other = open_run(
        "first",
        "importance=[{method: self_confidence}, "
        "{method: self_confidence, name: fine, training: {bins: 8}}]",
    )
    with pytest.raises(TrainingError, match="different numbers of bins") as caught:
        fit_methods(
            FitJob.of(other),
            run.store.read(SAMPLES),
            other.config.importance,
            ModelsFolder(tmp_path),
        )
    assert "[3, 8]" in str(caught.value)


def test_a_target_without_rows_is_refused_before_the_training(
    run: Run, open_run: OpenRun, tmp_path: Path
) -> None:
    other = open_run("first", "importance=[{method: self_confidence}, {method: tracin}]")
    samples = run.store.read(SAMPLES).withColumn("target", F.lit(False))
    with pytest.raises(TrainingError, match="'tracin' has nothing to compare") as caught:
        fit_methods(FitJob.of(other), samples, other.config.importance, ModelsFolder(tmp_path))
    assert "0 target rows of" in str(caught.value)
    assert "splits.target" in str(caught.value)
    assert not list(tmp_path.iterdir())


def _content(frame: DataFrame) -> tuple[int, int, int]:
    """Number of rows and two sums of their hashes."""
    columns = sorted(c for c in frame.columns if c != "run_id")
    row = F.xxhash64(*columns)
    found = frame.agg(F.count("*"), F.bit_xor(row), F.sum(row % 1_000_003)).first()
    assert found is not None
    return (found[0], found[1], found[2])


def _sorted(frame: DataFrame) -> pd.DataFrame:
    return frame.toPandas().sort_values(["method", "sample_id"]).reset_index(drop=True)


def _losses(run: Run) -> str:
    return (run.folder.models.curves).read_text()
