"""The stage promote, on tables: challengers of another run, and what is live after each."""

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from tests.promote.arms import arms
from tests.promote.records import write_records

from reweight.build_samples.feature_stats import FeatureStats
from reweight.config import Run, RunConfig, read_config
from reweight.core.errors import PromotionError, TableError
from reweight.core.files import write_json
from reweight.core.small_rows import frame_of
from reweight.core.tables import PREDICTIONS, PROMOTIONS, SAMPLES, WEIGHTS
from reweight.promote.published import NAME, published_weights
from reweight.promote.stage import promote
from reweight.runner.records import run_stage

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("runs_stages")]

SCHEMA = "spark_catalog.promote_test"
OpenRun = Callable[..., Run]
# Weight of all rows of a run: a mark of whose they are.
MARKS = {"first": 2.0, "worse": 3.0, "better": 4.0}


@pytest.fixture(scope="module")
def opened(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenRun]:
    root = tmp_path_factory.mktemp("promote")
    spark.sql(f"CREATE SCHEMA {SCHEMA}")
    config = {
        "root": str(root),
        "catalog": SCHEMA,
        "cleaning": {
            "sources": {"log": {"path": "/raw", "format": "csv"}},
            "columns": {n: n for n in ("event_time", "price", "shown", "bought")},
        },
        "sampling": {"key": ["shown"], "label": {"value": "bought"}},
        "features": {"numeric": {"price": "price"}},
        "importance": [{"method": "density_ratio"}],
        "evaluation": {"replicates": 100, "buckets": 50, "bins": 20},
    }
    yield lambda run_id, *more: Run.open(
        spark, read_config(RunConfig, config, (f"run_id={run_id}", *more))
    )
    spark.sql(f"DROP SCHEMA {SCHEMA} CASCADE")


def finished(run: Run, predictions: pd.DataFrame, *, price: str = "price") -> None:
    """Leaves what a pipeline leaves of a run, as far as promote reads it."""
    predictions = predictions.assign(ranker="logistic_regression")
    names = ("ranker", "method", "sample_id", "group_id", "segment", "split")
    columns = "ranker string, method string, sample_id long, group_id string, segment string, "
    columns += "split string, label float, probability double"
    rows = predictions[[*names, "label", "probability"]].astype(object)
    run.store.write(PREDICTIONS, run.spark.createDataFrame(rows.to_numpy().tolist(), columns))
    mark = MARKS.get(run.config.run_id, 1.0)
    weights = [(m, 7, mark, mark, None, False, None) for m in ("density_ratio", "uniform")]
    columns = "method string, sample_id long, importance double, weight double, label float, "
    frame = run.spark.createDataFrame(weights, columns + "in_sample boolean, event_time timestamp")
    run.store.write(WEIGHTS, frame)
    stats = FeatureStats(names=(price,), scaling={price: (0, 1)}, vocabulary={}, cardinalities={})
    write_json(run.folder.features, stats.model_dump())
    write_json(run.folder.decision, {"weights": "density_ratio", "judge": "recorded"})
    said = {"recorded": {"decides": "ranking_log_loss"}}
    write_json(run.folder.evaluation, {"judges": said})
    write_records(run.folder)


@pytest.fixture(scope="module")
def line(opened: OpenRun) -> Run:
    """A run of decisions; beside it three finished ones, judged on the same rows."""
    noises = {"first": 1.0, "worse": 1.3, "better": 0.3}
    for name, noise in noises.items():
        finished(opened(name), arms(1, {"uniform": 2.0, "density_ratio": noise}))
    return opened("shop")


def asked(opened: OpenRun, *settings: str) -> dict[str, Any]:
    found = run_stage(opened("shop", *[f"promotion.{s}" for s in settings]), promote)
    return dict(found)


def live(line: Run) -> float:
    """The mark of the live weights, which the view and the frame show alike."""
    (by_view,) = line.spark.table(f"{SCHEMA}.{NAME}").where("run_id = 'shop'").collect()
    (by_frame,) = published_weights(line).collect()
    assert by_view["weight"] == by_frame["weight"]
    return float(by_frame["weight"])


def test_only_a_better_challenger_goes_live_and_it_can_be_taken_back(
    line: Run, opened: OpenRun
) -> None:
    with pytest.raises(TableError, match="are live"):
        published_weights(line)
    assert asked(opened, "challenger=first")["decision"] == "promoted"
    assert live(line) == MARKS["first"]
    assert asked(opened, "challenger=worse")["decision"] == "kept"
    assert live(line) == MARKS["first"]
    assert asked(opened, "challenger=better")["decision"] == "promoted"
    assert live(line) == MARKS["better"]
    assert asked(opened, "rollback=true")["decision"] == "rolled back"
    assert live(line) == MARKS["first"]
    with pytest.raises(PromotionError, match="no version to go back to"):
        asked(opened, "rollback=true")
    told = asked(opened, "history=true")
    assert told["decisions"] == 4
    assert "density_ratio of better: promoted" in told["3"]
    rows = line.store.read(PROMOTIONS).orderBy("number").toPandas()
    assert rows["decision"].tolist() == ["promoted", "kept", "promoted", "rolled back"]
    assert rows["outcome"].tolist()[:3] == ["better", "worse", "better"]
    assert (rows["high"][[0, 2]] < 0).all()
    assert set(rows["rows"].dropna()) == {750}
    assert rows["decided_by"].str.len().min() > 0


def test_what_cannot_be_compared_is_refused_and_nothing_is_published(
    line: Run, opened: OpenRun
) -> None:
    before = line.store.history(PROMOTIONS, 1)[0]["version"]
    finished(opened("elsewhere"), arms(2, {"uniform": 2.0, "density_ratio": 0.1}))
    same = arms(1, {"uniform": 2.0, "density_ratio": 0.1})
    finished(opened("taller"), same, price="height")
    deeper = opened("deeper", "ranking={C: 7}")
    finished(deeper, same)
    for challenger, what, got in (
        ("elsewhere", "judged on other rows", "750 rows"),
        ("taller", "other features", "['height', 'price']"),
        ("deeper", "another ranker", "['C']"),
        ("nobody", "there is no run", "no config.json"),
    ):
        with pytest.raises(PromotionError, match=what) as caught:
            asked(opened, f"challenger={challenger}")
        assert got in caught.value.got
    with pytest.raises(PromotionError, match="does not have the live weights"):
        asked(opened, "challenger=better", "against=worse")
    with pytest.raises(PromotionError, match="no challenger"):
        asked(opened)
    write_records(deeper.folder, attempt=2)
    killed = deeper.folder.record("train_ranker")
    write_json(killed, json.loads(killed.read_text()) | {"status": "running"})
    with pytest.raises(PromotionError, match="run 'deeper' is not finished: train_ranker"):
        asked(opened, "challenger=deeper")
    write_records(deeper.folder)
    deeper.folder.decision.unlink()
    with pytest.raises(PromotionError, match="has not been evaluated"):
        asked(opened, "challenger=deeper")
    assert line.store.history(PROMOTIONS, 1)[0]["version"] == before
    assert json.loads(line.folder.record("promote").read_text())["status"] == "failed"


def test_recorded_labels_judge_the_rows_that_the_config_chooses(opened: OpenRun) -> None:
    # The challenger is better on the rows that are chosen, and makes up for it on the others.
    one, other = (
        arms(5, {"uniform": 2.0, "density_ratio": noise}).query(rows)
        for noise, rows in ((0.1, "sample_id <= 500"), (3.0, "sample_id > 500"))
    )
    predictions = pd.concat([one, other])
    run = opened("chosen", "evaluation.judges={recorded: {where: sample_id <= 500}}")
    finished(run, predictions)
    schema = SAMPLES.columns()
    assert schema is not None
    rows = [
        {"sample_id": int(i), "group_id": "0", "label": float(label), "split": "validation"}
        | {"mature": True, "target": False, "features": [], "ids": []}
        for i, label in predictions.query("method == 'uniform'")[["sample_id", "label"]].to_numpy()
    ]
    run.store.write(SAMPLES, frame_of(run.spark, SAMPLES, rows))
    told = dict(run_stage(opened("chosen_rows", "promotion.challenger=chosen"), promote))
    assert told["decision"] == "promoted"


def test_live_weights_that_their_run_makes_again_are_another_version(opened: OpenRun) -> None:
    monday, line = opened("monday"), opened("again")
    finished(monday, arms(3, {"uniform": 2.0, "density_ratio": 0.3}))
    finished(opened("worst"), arms(3, {"uniform": 2.0, "density_ratio": 3.0}))

    def decision(*settings: str) -> dict[str, Any]:
        run = opened("again", *[f"promotion.{s}" for s in settings])
        return dict(run_stage(run, promote))

    def versions() -> list[str]:
        return [row["live_key"] for row in line.store.read(PROMOTIONS).orderBy("number").collect()]

    assert decision("challenger=monday")["decision"] == "promoted"
    assert "live already" in decision("challenger=monday")["reason"]
    assert published_weights(line).count() == 1
    write_records(monday.folder, attempt=2)
    with pytest.raises(TableError, match="'monday' does not have the live weights any more"):
        published_weights(line)
    told = decision("challenger=monday")
    assert told["decision"] == "promoted"
    assert "Run monday has made its weights again since they went live" in told["reason"]
    assert "live already" not in told["reason"]
    assert versions() == [f"monday_score_weights{i}" for i in (1, 1, 2)]
    assert published_weights(line).count() == 1
    with pytest.raises(PromotionError, match="before the live one is not there any more"):
        decision("rollback=true")
    # Weights that were not judged do not stay, whoever is the challenger.
    write_records(monday.folder, attempt=3)
    assert decision("challenger=worst")["live"] == "uniform, on the rows of run worst"
    assert published_weights(line).count() == 1
    assert versions()[3] is None
    # So do those of a run that was removed.
    assert decision("challenger=monday")["decision"] == "promoted"
    shutil.rmtree(monday.folder.path)
    told = decision("challenger=worst")
    assert told["live"] == "uniform, on the rows of run worst"
    assert "Run monday is not there any more" in told["reason"]


def test_the_models_of_a_run_that_was_made_again_are_not_those_that_are_live(
    opened: OpenRun,
) -> None:
    models = opened("models")
    finished(models, arms(4, {"uniform": 2.0, "density_ratio": 0.8}))
    later = opened("later", "model_run_id=models")
    finished(later, arms(4, {"uniform": 2.0, "density_ratio": 0.8}))

    def decision(challenger: str, *more: str) -> dict[str, Any]:
        run = opened("others", f"promotion.challenger={challenger}", *more)
        return dict(run_stage(run, promote))

    assert decision("models")["decision"] == "promoted"
    assert "live already" in decision("later")["reason"]
    write_records(models.folder, attempt=2)
    # The run that has the live weights still has them.
    told = decision("models")
    assert told["decision"] == "kept"
    assert "no significant difference" in told["reason"]
    assert told["live"] == "density_ratio of models, on the rows of run later"
    write_records(opened("newer", "model_run_id=models").folder)
    with pytest.raises(PromotionError, match="has made other models or weights since"):
        decision("models", "promotion.against=newer")
    # They may be gone, too; a challenger that reads them is refused.
    shutil.rmtree(models.folder.path)
    with pytest.raises(PromotionError, match="run 'models' is not finished: score_weights"):
        decision("later")
    finished(opened("own"), arms(4, {"uniform": 2.0, "density_ratio": 0.8}))
    assert decision("own")["live"] == "density_ratio of models, on the rows of run later"
