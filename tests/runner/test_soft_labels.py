"""Methods that say labels, through the stages that use them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from reweight.build_samples.stage import build_samples
from reweight.config import Run
from reweight.core.errors import TrainingError
from reweight.core.run_folder import ModelsFolder, read_records
from reweight.core.tables import EVENTS, METRICS, PREDICTIONS, SAMPLES, WEIGHTS
from reweight.evaluate.stage import evaluate
from reweight.fit_importance.fit import fit_methods
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.stage import fit_importance
from reweight.runner.records import run_stage
from reweight.score_weights.stage import score_weights
from reweight.train_ranker.stage import train_ranker

# The setup is a whole run, and most of another.
pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("ranks_here")]

OpenRun = Callable[..., Run]
SMALL = "hidden: [4], epochs: 2"
SOFT = ("pu_prior", "ipw_position")


@pytest.fixture(scope="module")
def soft(run: Run, open_run: OpenRun, ranks_here: None) -> Run:
    """The events of the small run, whose features do not tell the position."""
    opened = open_run(
        "soft",
        "features.numeric.position=log(price)",
        "sampling.label.attribute=last",
        "features.history={}",
        f"importance=[{{method: pu_prior, prior: 0.3, training: {{{SMALL}, members: 2}}}}, "
        f"{{method: ipw_position, training: {{{SMALL}}}}}]",
    )
    opened.store.write(EVENTS, run.store.read(EVENTS))
    for stage in (build_samples, fit_importance, score_weights, train_ranker, evaluate):
        run_stage(opened, stage)
    return opened


def test_the_label_of_a_weight_is_a_probability_for_soft_methods_and_else_null(soft: Run) -> None:
    samples = soft.store.read(SAMPLES).select("sample_id", F.col("label").alias("recorded"))
    weights = soft.store.read(WEIGHTS).join(samples, on="sample_id", how="inner")
    total = samples.count()
    positive = F.col("recorded") == 1
    found = weights.groupBy("method").agg(
        F.count("*").alias("rows"),
        F.count("label").alias("labels"),
        F.min(F.when(positive, F.col("label"))).alias("positives"),
        F.avg(F.when(~positive, F.col("label"))).alias("others"),
    )
    facts = {row["method"]: row for row in found.collect()}
    assert facts.keys() == {"uniform", *SOFT}
    assert {row["rows"] for row in facts.values()} == {total}
    assert facts["uniform"]["labels"] == 0
    for method in SOFT:
        assert facts[method]["labels"] == total
        assert facts[method]["positives"] == 1
        assert 0 < facts[method]["others"] < 1


def test_training_rows_that_all_members_saw_are_marked(soft: Run) -> None:
    samples = soft.store.read(SAMPLES).select("sample_id", "split")
    rows = soft.store.read(WEIGHTS).join(samples, on="sample_id", how="inner")
    counts = rows.groupBy("method", F.col("split") == "train").agg(
        F.avg(F.col("in_sample").cast("double"))
    )
    share = {(method, train): share for method, train, share in counts.collect()}
    assert {value for (_, train), value in share.items() if not train} == {0.0}
    assert share["uniform", True] == 0
    # Two members on half samples: both see a quarter of the rows.
    assert share["pu_prior", True] == pytest.approx(0.25, abs=0.03)


def test_the_ranker_learns_them_and_says_of_how_many_rows(soft: Run) -> None:
    rows = read_records(soft.folder)["train_ranker"]["summary"]["rows of soft labels"]
    train = soft.store.read(SAMPLES).where("split = 'train'").count()
    assert rows.keys() == set(SOFT)
    assert all(train < count < 2 * train for count in rows.values())
    means = soft.store.read(PREDICTIONS).groupBy("method").agg(F.avg("probability").alias("p"))
    p = {row["method"]: row["p"] for row in means.collect()}
    assert all(p[method] > 1.5 * p["uniform"] for method in SOFT)
    metrics = soft.store.read(METRICS).where("name = 'log_loss'").select("method").distinct()
    # Beside the methods: uniform, and uniform recalibrated.
    assert metrics.count() == len(SOFT) + 2


@pytest.mark.parametrize(
    ("column", "training", "match"),
    [
        ("position", "{}", "cannot tell positions apart"),
        ("propensity", "{propensity: column}", "cannot use the propensities"),
    ],
)
def test_a_column_that_is_not_there_is_refused_before_the_training(
    run: Run, open_run: OpenRun, tmp_path: Path, column: str, training: str, match: str
) -> None:
    other = open_run("first", f"importance=[{{method: ipw_position, training: {training}}}]")
    samples = run.store.read(SAMPLES)
    nothing = samples.withColumn(column, F.lit(None).cast(samples.schema[column].dataType))
    with pytest.raises(TrainingError, match=match):
        fit_methods(FitJob.of(other), nothing, other.config.importance, ModelsFolder(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["ipw_position", "doubly_robust"])
def test_a_feature_that_tells_the_position_is_refused_before_the_training(
    run: Run, open_run: OpenRun, tmp_path: Path, method: str
) -> None:
    other = open_run("first", f"importance=[{{method: {method}}}]")
    samples = run.store.read(SAMPLES)
    with pytest.raises(TrainingError, match="cannot tell position bias from relevance"):
        fit_methods(FitJob.of(other), samples, other.config.importance, ModelsFolder(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["ipw_position", "doubly_robust"])
def test_purchases_that_several_impressions_share_are_refused_before_the_training(
    run: Run, soft: Run, open_run: OpenRun, tmp_path: Path, method: str
) -> None:
    counted = json.loads(run.folder.labels.read_text())
    keys = ["user_id", "item_id"]
    assert (counted["attribute"], counted["keys"]) == (None, keys)
    said = read_records(run.folder)["build_samples"]["summary"]["label events"]
    assert said.startswith(f"{counted['shared']:,} of {counted['events']:,} follow several samples")
    attributed = json.loads(soft.folder.labels.read_text())
    assert attributed == counted | {
        "attribute": "last",
        "shared": 0,
        "attributed": counted["shared"],
    }
    positive = soft.store.read(SAMPLES).where("label = 1").count()
    assert positive == counted["events"] < run.store.read(SAMPLES).where("label = 1").count()
    other = open_run("first", f"importance=[{{method: {method}}}]")
    job = replace(FitJob.of(other), names=("x",) * len(FitJob.of(other).names))
    rows = run.store.read(SAMPLES).withColumn("features", F.array_repeat(F.lit(0.0), job.dim))
    with pytest.raises(TrainingError, match="which sample a label event belongs to") as caught:
        fit_methods(job, rows, other.config.importance, ModelsFolder(tmp_path))
    assert f"{counted['shared']} of {counted['events']} label events" in caught.value.got
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["mature_only", "delayed_feedback"])
def test_late_labels_are_refused_where_no_window_is_open_or_none_is_over(
    run: Run, open_run: OpenRun, tmp_path: Path, method: str
) -> None:
    other = open_run("first", f"importance=[{{method: {method}}}]")
    samples = run.store.read(SAMPLES)
    for mature, match in ((True, "no late labels"), (False, "no settled labels")):
        with pytest.raises(TrainingError, match=match):
            own = samples.withColumn("mature", F.lit(mature))
            fit_methods(FitJob.of(other), own, other.config.importance, ModelsFolder(tmp_path))
    assert not list(tmp_path.iterdir())


def test_how_late_labels_come_must_be_known(run: Run, open_run: OpenRun, tmp_path: Path) -> None:
    other = open_run("first", "importance=[{method: delayed_feedback}]")
    half = F.pmod("sample_id", F.lit(2)) == 0
    samples = run.store.read(SAMPLES).withColumns(
        {"mature": half, "delay": F.lit(None).cast("double")}
    )
    with pytest.raises(TrainingError, match="cannot learn how late labels arrive"):
        fit_methods(FitJob.of(other), samples, other.config.importance, ModelsFolder(tmp_path))
    early = samples.withColumn("delay", F.lit(-0.25))
    with pytest.raises(TrainingError, match="cannot use the delays") as caught:
        fit_methods(FitJob.of(other), early, other.config.importance, ModelsFolder(tmp_path))
    settled = samples.where("split = 'train' and mature and label = 1").count()
    assert f"for {settled} of {settled} settled positives" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_rows_without_a_label_train_with_the_one_that_self_training_expects(
    run: Run, open_run: OpenRun
) -> None:
    cheap = "if(pmod(xxhash64(event_id), 3) = 0, null, price < 15)"
    opened = open_run(
        "unlabelled",
        f"sampling.label={{where: null, keys: [], window: null, value: '{cheap}'}}",
        "splits.unlabelled=train",
        "features.history={}",
        "importance=[{method: self_training, training: {hidden: [8], epochs: 8}}, "
        "{method: mature_only}]",
    )
    opened.store.write(EVENTS, run.store.read(EVENTS))
    for stage in (build_samples, fit_importance, score_weights, train_ranker, evaluate):
        run_stage(opened, stage)
    samples = opened.store.read(SAMPLES).select("sample_id", "split", "mature")
    rows = samples.join(opened.store.read(WEIGHTS), on="sample_id", how="inner")
    counts = rows.where("method = 'uniform'").groupBy("split", "mature").count().collect()
    found = {(split, mature): count for split, mature, count in counts}
    assert found["train", True] > found["train", False] > 0
    assert found["immature", False] > 0
    assert {("test", False), ("validation", False)}.isdisjoint(found)
    trained = rows.where("split = 'train'").groupBy("method", "mature").agg(F.avg("label"))
    label = {(method, mature): mean for method, mature, mean in trained.collect()}
    # Which rows have a label is chance, so that the others are as often positive.
    assert label["self_training", False] == pytest.approx(label["self_training", True], abs=0.05)
    probability = opened.store.read(PREDICTIONS).groupBy("method").agg(F.avg("probability"))
    p = dict(probability.collect())
    assert p["uniform"] < 0.8 * p["mature_only"]
    assert p["self_training"] == pytest.approx(p["mature_only"], rel=0.1)
