"""The stages of a run that uses the models of another: what they take from it, and refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from reweight.build_samples.feature_stats import read_stats
from reweight.build_samples.stage import build_samples
from reweight.config import Run, RunConfig, read_config
from reweight.core.columns import in_sample_flag
from reweight.core.errors import ReweightError, TableError, WeightError
from reweight.core.files import write_json
from reweight.core.run_folder import read_records
from reweight.core.tables import EVENTS
from reweight.fit_importance.stage import fit_importance
from reweight.importance.artifact import ModelArtifact
from reweight.importance.training import TrainFacts
from reweight.runner.changes import why_again
from reweight.runner.records import run_stage
from reweight.score_weights.models import read_models
from reweight.score_weights.policy import PolicyStats
from reweight.score_weights.rows import weight_rows
from reweight.score_weights.stage import policies

OpenRun = Callable[..., Run]
LATER = "model_run_id=monday"
FACTS = TrainFacts(dim=1, rows=4, positives=2)


@pytest.fixture
def opened(spark: SparkSession, tmp_path: Path) -> OpenRun:
    """Opens a run of two methods that need no training; overrides go over it."""
    config = {
        "root": str(tmp_path),
        "cleaning": {
            "sources": {"log": {"path": "/raw", "format": "csv"}},
            "columns": {n: n for n in ("event_time", "price", "shown", "bought")},
        },
        "sampling": {"key": ["shown"], "label": {"value": "bought"}, "segment": "string(shown)"},
        "features": {"numeric": {"price": "price"}},
        "importance": [{"method": "random"}],
    }
    return lambda run_id, *more: Run.open(
        spark, read_config(RunConfig, config, (f"run_id={run_id}", *more))
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["(1, 0)", "(1, 1)"], "sample_id is not unique"),
        (["(1, 0)", "(2, 3)"], "some labels are neither 0 nor 1"),
        (["(1, 0)", "(2, null)"], "monday/features.json"),
    ],
)
def test_rows_of_a_later_day_are_checked_but_need_not_be_of_both_classes(
    opened: OpenRun, rows: list[str], said: str
) -> None:
    run = opened("tuesday", LATER)
    events = f"SELECT *, now() AS event_time, 1.0 AS price FROM VALUES {', '.join(rows)}"
    run.store.write(EVENTS, run.spark.sql(f"{events} AS log(shown, bought)"))
    with pytest.raises(ReweightError, match=said):
        build_samples(run)


def test_models_score_no_samples_of_other_statistics_than_they_were_fitted_on(
    opened: OpenRun,
) -> None:
    monday, tuesday = opened("monday"), opened("tuesday", LATER)
    for folder in (monday.folder, tuesday.folder):
        write_json(folder.features, stats(1.0))
    for method in monday.config.importance:
        folder = monday.folder.models.model(method.name)
        ModelArtifact.of(method, FACTS, method.build(FACTS)).write(folder)
        with pytest.raises(TableError, match=f"{method.name}/features.json"):
            models_of(monday)
        write_json(monday.folder.models.features(method.name), stats(1.0))
    assert models_of(monday) == models_of(tuesday)
    # Monday's samples are built anew, then Tuesday's by the new statistics.
    write_json(monday.folder.features, stats(2.0))
    with pytest.raises(TableError, match="with other statistics") as caught:
        models_of(monday)
    assert "run 'fit_importance' again" in str(caught.value)
    assert models_of(tuesday)
    write_json(tuesday.folder.features, stats(2.0))
    with pytest.raises(TableError, match="'random' was fitted on features with other") as caught:
        models_of(tuesday)
    assert "run 'fit_importance' of run 'monday'" in str(caught.value)


@pytest.mark.usefixtures("ranks_here")
def test_models_of_a_run_are_where_those_of_a_later_one_start(opened: OpenRun) -> None:
    small = (
        "importance=[{method: random}, {method: self_confidence, training: {members: 2, "
        "hidden: [4], embedding: 2, epochs: 1}}]",
        "features.categorical={item: {value: shown, buckets: 16}}",
        "splits.by=row",
        "fitting={ranks: 1, shards: 1, batch_size: 64}",
    )
    start = ("warm_start.run_id=monday", "warm_start.update=head")
    monday, tuesday = opened("monday", *small), opened("tuesday", *small, *start)
    for run, rows in ((monday, 300), (tuesday, 500)):
        log = run.spark.range(rows).selectExpr(
            "id AS shown", "now() AS event_time", "id % 7 AS price", "int(id % 5 < 2) AS bought"
        )
        run.store.write(EVENTS, log)
        for stage in (build_samples, fit_importance):
            run_stage(run, stage)
            assert why_again(run, stage) is None
    assert read_stats(tuesday.folder.features) == read_stats(monday.folder.features)
    record = read_records(tuesday.folder)["fit_importance"]
    said = record["summary"]["warm start"]
    assert said.keys() == {"self_confidence"}
    assert said["self_confidence"].startswith("from run 'monday', head:")
    assert "self_confidence of monday" in record["logs"]
    before, after = (
        dict(
            ModelArtifact.read(r.folder.models.model("self_confidence")).model().named_parameters()
        )
        for r in (monday, tuesday)
    )
    changed = {n.split("ensemble.")[1] for n in before if not after[n].equal(before[n])}
    assert changed >= {"weights.1", "biases.0", "biases.1"}
    assert "weights.0" not in changed
    # Another model: it has to be trained again.
    write_json(monday.folder.models.model("self_confidence") / "more.json", {})
    assert "may have changed" in (why_again(tuesday, fit_importance) or "")


def models_of(run: Run) -> dict[str, ModelArtifact]:
    return read_models(run.config.model_folder.models, run.config.importance, run.folder.features)


def stats(mean: float) -> dict[str, Any]:
    scaling = {"price": (mean, 1.0)}
    return {"names": ["price"], "scaling": scaling, "vocabulary": {}, "cardinalities": {}}


@pytest.fixture
def scored(spark: SparkSession) -> DataFrame:
    """Training rows of two segments with an importance of 1, 2, 3 and 4."""
    return spark.range(1, 5).selectExpr(
        "'train' AS split", "cast(id > 2 AS string) AS segment", "id AS random", "1.0 AS uniform"
    )


def test_rows_of_a_later_day_are_weighed_by_the_numbers_of_the_other_run(
    opened: OpenRun, scored: DataFrame
) -> None:
    numbers = policies(opened("monday", "weighting.temper=0.5").config, scored)
    # The limits of the effective sample size are of the run that learns.
    later = opened("tuesday", LATER, "weighting.temper=0.5", "weighting.ess_refuse=0.99")
    assert policies(later.config, scored.where("random > 3")) == numbers


@pytest.mark.parametrize(
    ("earlier", "later", "said"),
    [
        ("temper=0.5", "temper=1", ("temper: 0.5, as in", "got:      temper: 1.0")),
        ("map=auto", "map=rank", ('map: "auto", as in', 'got:      map: "rank"')),
        ("clip_ratio=2", "clip_ratio=null", ("clip_ratio: 2.0, as in", "clip_ratio: null")),
        ("segment_cap=0.5", "segment_cap=null", ("segment_cap: 0.5, as in", "segment_cap: null")),
    ],
)
def test_another_policy_than_that_of_the_other_run_is_refused(
    opened: OpenRun, scored: DataFrame, earlier: str, later: str, said: tuple[str, str]
) -> None:
    policies(opened("monday", f"weighting.{earlier}").config, scored)
    with pytest.raises(WeightError, match="other settings in the section `weighting`") as caught:
        policies(opened("tuesday", LATER, f"weighting.{later}").config, scored)
    for words in said:
        assert words in str(caught.value)


def test_numbers_that_do_not_say_of_which_policy_they_are_are_refused(
    opened: OpenRun, scored: DataFrame
) -> None:
    monday = opened("monday")
    numbers = policies(monday.config, scored)["random"].model_dump()
    write_json(monday.folder.models.policy("random"), numbers)
    with pytest.raises(WeightError, match="other settings in the section `weighting`") as caught:
        policies(opened("tuesday", LATER).config, scored)
    assert "run the stage 'score_weights' of that run again" in str(caught.value)


def test_a_run_that_was_never_scored_has_no_policy(opened: OpenRun, scored: DataFrame) -> None:
    with pytest.raises(WeightError, match="are missing") as caught:
        policies(opened("tuesday", LATER).config, scored)
    assert "monday/models/random/policy.json" in str(caught.value)


@pytest.mark.parametrize(("more", "seen"), [((), [True, False]), ((LATER,), [False, False])])
def test_no_row_of_a_later_day_was_trained_on(
    opened: OpenRun, more: tuple[str, ...], seen: list[bool]
) -> None:
    run = opened("tuesday", *more)
    rows = run.spark.createDataFrame(
        [(1, "train", 0.5, True), (2, "test", 0.5, True)],
        f"sample_id bigint, split string, random float, `{in_sample_flag('random')}` boolean",
    )
    found = weight_rows(
        rows, run.config.weighting, {"random": PolicyStats(map="identity")}, in_sample=not more
    ).orderBy("sample_id")
    assert [row["in_sample"] for row in found.collect()] == seen
