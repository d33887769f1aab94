"""The ranker `deep`: the networks of all methods by one launch of the ranks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import roc_auc_score

from reweight.build_samples.feature_stats import FeatureStats
from reweight.core.columns import soft_label
from reweight.core.errors import TrainingError
from reweight.core.run_folder import RunFolder
from reweight.fit_importance import launch
from reweight.importance.deep_settings import weight_column
from reweight.train_ranker.fit import Fit, fit_rankers, job_of, predictions
from reweight.train_ranker.networks import validation_rows
from reweight.train_ranker.rankers.base import RankerJob
from reweight.train_ranker.rankers.deep import Deep
from reweight.train_ranker.rows import WeightColumn
from reweight.training.plan import Fitting

ROWS, FIELDS = 600, {"user": 7, "item": 9}
SMALL = Deep(epochs=12, patience=3, hidden=(8,), embedding=3, learning_rate=0.02)
COLUMNS = (WeightColumn("uniform"), WeightColumn("gamma"), WeightColumn("soft", soft=True))

pytestmark = pytest.mark.usefixtures("ranks_here")


@pytest.fixture(scope="module")
def samples(spark: SparkSession) -> DataFrame:
    """Rows of which every third is a validation row; a product of features decides the label."""
    draw = np.random.default_rng(3)
    x = draw.normal(size=(ROWS, 3)).astype(np.float32).astype(float)
    ids = np.stack([draw.integers(0, size, ROWS) for size in FIELDS.values()], axis=1)
    z = 4 * x[:, 0] * x[:, 1] + 2 * (ids[:, 1] == 4)
    label = (draw.random(ROWS) < 1 / (1 + np.exp(-z))).astype(float)
    columns = (np.arange(ROWS), x, ids, label, draw.gamma(1.0, 3.0, ROWS), draw.random(ROWS))
    rows = list(zip(*[column.tolist() for column in columns], strict=True))
    schema = "sample_id bigint, features array<float>, ids array<int>, label double, gamma double"
    frame = spark.createDataFrame(rows, f"{schema}, `{soft_label('soft')}` double").coalesce(1)
    split = F.when(F.col("sample_id") % 3 == 0, "validation").otherwise("train")
    frame = frame.withColumns({"uniform": F.lit(1.0), "soft": F.lit(1.0), "split": split})
    return frame.withColumns({"group_id": F.col("ids")[0], "segment": F.lit("a")}).cache()


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The plans that were launched."""
    plans: list[Any] = []
    straight = launch.launch

    def counted(job: Any, plan: Any) -> None:
        plans.append(plan)
        straight(job, plan)

    monkeypatch.setattr(launch, "launch", counted)
    return plans


def fits(
    samples: DataFrame, folder: Path, ranker: Deep = SMALL, columns: Any = COLUMNS
) -> tuple[Fit, ...]:
    train, validation = (samples.where(f"split = '{s}'") for s in ("train", "validation"))
    job = RankerJob(
        0.0,
        seed=5,
        names=("a", "b", "c"),
        fields=FIELDS,
        validation=validation.select("label", *ranker.columns()),
        fitting=Fitting(batch_size=64, shards=2),
    )
    return fit_rankers(train, columns, (ranker,), floor=0.0, job=job, folder=RunFolder(folder))


def probabilities(samples: DataFrame, found: tuple[Fit, ...]) -> dict[str, NDArray[np.float64]]:
    """Of all rows, by method."""
    rows = predictions(samples, found)
    table = rows.orderBy("sample_id").toPandas()
    assert set(table["ranker"]) == {"deep"}
    return {str(m): own["probability"].to_numpy() for m, own in table.groupby("method")}


def test_one_launch_trains_for_all_methods_what_each_would_get_alone(
    samples: DataFrame, tmp_path: Path, launches: list[Any]
) -> None:
    together = fits(samples, tmp_path / "all")
    assert len(launches) == 1
    assert [fit.method for fit in together] == ["uniform", "gamma", "soft"]
    found = probabilities(samples, together)
    label = np.array([row["label"] for row in samples.orderBy("sample_id").collect()])
    held_out = np.arange(ROWS) % 3 == 0
    assert roc_auc_score(label[held_out], found["uniform"][held_out]) > 0.75
    # Labels drawn at random teach nothing.
    assert roc_auc_score(label[held_out], found["soft"][held_out]) < 0.65
    (alone,) = fits(samples, tmp_path / "one", columns=COLUMNS[1:2])
    assert len(launches) == 2
    np.testing.assert_array_equal(probabilities(samples, (alone,))["gamma"], found["gamma"])
    assert np.abs(found["gamma"] - found["uniform"]).max() > 0.05

    # Of validation rows and ended early, which is told.
    epochs = [int(word) for word in alone.fitted.outcome.split() if word.isdigit()]
    assert alone.fitted.outcome == f"epoch {epochs[0]} of {epochs[1]}"
    assert epochs[1] == min(epochs[0] + 3, 12)

    # What is there is not trained again, and nothing is left of the rows.
    again = fits(samples, tmp_path / "all")
    assert len(launches) == 2
    np.testing.assert_array_equal(probabilities(samples, again)["soft"], found["soft"])
    folder = tmp_path / "all" / "rankers" / "deep"
    names = {path.name for path in folder.iterdir()}
    files = {"curves.json", "fitted.json", "refused.json", "ids.safetensors"}
    assert names == {*files, "ranks", *found}
    assert {path.name for path in (folder / "gamma").iterdir()} == {
        "model.json",
        "model.safetensors",
    }


def test_the_rows_by_which_it_stops_count_as_often_as_negatives_were_sampled(
    samples: DataFrame,
) -> None:
    stats = FeatureStats(names=("a", "b", "c"), scaling={}, vocabulary={}, cardinalities=FIELDS)
    sampled = samples.withColumn("design_weight", F.expr("if(label = 1, 1D, 10D)"))
    for rows, heavier in ((samples, 1), (sampled, 10)):
        job = job_of(rows, stats, SMALL.columns(), seed=5, fitting=Fitting())
        assert job.validation is not None
        table = validation_rows(job.validation, COLUMNS).toPandas()
        for column in COLUMNS:
            weights = table[weight_column(column.name)]
            by_label = weights.groupby(table["label"]).agg(["min", "max"])
            assert by_label["min"].tolist() == by_label["max"].tolist()
            assert by_label["min"][0] == pytest.approx(heavier * by_label["min"][1])
            assert weights.mean() == pytest.approx(1)


def test_a_training_that_diverges_is_named(samples: DataFrame, tmp_path: Path) -> None:
    wild = Deep(epochs=2, learning_rate=1e30, hidden=(8,), cross=3)
    with pytest.raises(TrainingError) as caught:
        fits(samples, tmp_path, wild)
    assert "'uniform' diverged" in str(caught.value)


def test_a_table_of_ids_that_fits_no_memory_is_refused_before_the_launch(
    samples: DataFrame, tmp_path: Path, launches: list[Any]
) -> None:
    with pytest.raises(TrainingError) as caught:
        fits(samples, tmp_path, Deep(embedding=1 << 26))
    assert "embedding" in caught.value.fix
    assert not launches
