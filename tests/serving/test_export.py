"""The stage export: scorers equal to the table of weights, and rows for other trainers."""

import json
import math
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.build_samples import encoding, labels, sampling
from reweight.build_samples.collapse import collapsed
from reweight.build_samples.feature_stats import read_stats
from reweight.build_samples.features import numeric_features
from reweight.clean_logs.events import read_events
from reweight.config import Run
from reweight.core.errors import SampleError, ServingError, WeightError
from reweight.core.tables import SAMPLES, WEIGHTS
from reweight.runner.records import run_stage
from reweight.serving import Scorer
from reweight.serving.export.rows import group_weights
from reweight.serving.export.stage import export

pytestmark = pytest.mark.timeout(600)

OpenRun = Callable[..., Run]


@pytest.fixture(scope="module")
def exported(run: Run, open_run: OpenRun) -> Path:
    judges = "evaluation.judges={truth: {}, position: {propensity: 1 / position}, recorded: {}}"
    again = open_run("first", judges, "exporting={rows: true, groups: mean}")
    # As an earlier export left it, of a method that the run has no more.
    stale = again.folder.export("gone")
    (stale / "rows").mkdir(parents=True)
    (stale / "scorer.json").touch()
    summary = run_stage(again, export)
    assert summary["scorers"]["class_balanced"] == "features, label"
    assert not stale.exists()
    return run.folder.exports


def raw(run: Run) -> pd.DataFrame:
    """Samples with their features before encoding, as the stage `build_samples` computes them."""
    config = run.config
    events = collapsed(read_events(run.store, config.cleaning), config.sampling.collapse)
    labelled = labels.with_label(events, config.sampling, F.lit("2100-01-01").cast("timestamp"))
    rows = labelled.transform(sampling.with_identity, config.sampling).transform(
        encoding.with_raw_features, events, config.features
    )
    texts = [
        F.expr(f.value).cast("string").alias(f"text:{name}")
        for name, f in (*config.features.categorical.items(), *config.features.one_hot.items())
    ]
    return rows.select("sample_id", "event_time", "_numbers", *texts).toPandas()


def test_raw_rows_get_the_weights_of_the_table(run: Run, exported: Path) -> None:
    features, stats = run.config.features, read_stats(run.folder.features)
    samples = run.store.read(SAMPLES).drop("run_id").toPandas().set_index("sample_id")
    rows = raw(run).set_index("sample_id").loc[samples.index]
    numbers = list(numeric_features(features))
    assert any(n.log for n in numbers)
    given = []
    for _, row in rows.iterrows():
        # A caller has the counts, of which the table has the logarithms.
        values = {
            n.name: math.expm1(x) if n.log and x is not None else x
            for n, x in zip(numbers, row["_numbers"], strict=True)
        }
        values |= {n: row[f"text:{n}"] for n in (*features.categorical, *features.one_hot)}
        if features.cyclic:
            values["event_time"] = row["event_time"].to_pydatetime().replace(tzinfo=UTC)
        given.append(values)
    weights = run.store.read(WEIGHTS).toPandas()
    for method, wanted in weights.groupby("method"):
        scorer = Scorer.load(exported / str(method), threads=None)
        assert set(scorer.features) == set(given[0])
        beside = {name: samples[name].tolist() for name in scorer.reads if name != "sample_id"}
        if "sample_id" in scorer.reads:
            beside["sample_id"] = samples.index.tolist()
        got = scorer.batch(given, **beside)
        wanted = wanted.set_index("sample_id").loc[samples.index]
        np.testing.assert_allclose(got.importance, wanted["importance"], 1e-6, 1e-6)
        np.testing.assert_allclose(got.weight, wanted["weight"], 1e-6, 1e-6)
        if stats.cardinalities:
            ids = np.stack(samples["ids"].tolist())
            encoded = scorer.encoded(np.stack(samples["features"].tolist()), ids, **beside)
            np.testing.assert_allclose(encoded.weight, got.weight, 1e-6, 1e-6)


def test_other_trainers_get_rows_and_groups_in_one_order(run: Run, exported: Path) -> None:
    rows = pd.read_parquet(exported / "class_balanced" / "rows" / "split=train")
    groups = pd.read_parquet(exported / "class_balanced" / "groups" / "split=train")
    wanted = run.store.read(WEIGHTS).where("method = 'class_balanced'").toPandas()
    weights = wanted.set_index("sample_id")["weight"]
    np.testing.assert_allclose(rows["weight"], weights.loc[rows["sample_id"]])
    assert len(rows) == run.store.read(SAMPLES).where("split = 'train'").count()
    # Readers may add what the folder's name says.
    assert set(rows.columns) - {"split"} == {
        *("group_id", "sample_id", "label", "weight", "features", "id_item"),
    }
    assert rows["group_id"].drop_duplicates().tolist() == groups["group_id"].tolist()
    sizes = rows.groupby("group_id", sort=False).size().to_numpy()
    assert groups["rows"].tolist() == sizes.tolist()
    means = rows.groupby("group_id", sort=False)["weight"].mean()
    np.testing.assert_allclose(groups["weight"], means)


def test_what_cannot_be_exported_is_named(
    spark: SparkSession, run: Run, open_run: OpenRun, exported: Path
) -> None:
    content = json.loads((exported / "random" / "scorer.json").read_text())
    assert content["reads"] == ["sample_id"]
    judges = "evaluation.judges={truth: {}, position: {propensity: 1 / position}, recorded: {}}"
    with pytest.raises(ServingError, match="without weights") as caught:
        run_stage(open_run("first", judges, "exporting.methods=[random, jtt]"), export)
    assert caught.value.got == "jtt: not in the run"
    assert caught.value.fix == "write exporting: {methods: [random]}"
    other = "features={numeric: {other: position}}"
    with pytest.raises(SampleError, match="belong to other features"):
        run_stage(open_run("first", judges, other), export)
    # What is refused leaves what there was.
    assert (exported / "random" / "scorer.json").exists()
    columns = "split string, group_id string, weight double"
    rows = [("train", "a", 1.0), ("train", "a", 1.0), ("train", "b", 1.0), ("train", "b", 2.0)]
    frame = spark.createDataFrame(rows, columns)
    with pytest.raises(WeightError, match="differ within groups") as refused:
        group_weights(frame, "equal", "random")
    assert refused.value.got == "1 of 2 groups whose rows have different weights"
    assert group_weights(frame.where("group_id = 'a'"), "equal", "random").count() == 1
    # The rate of sampled negatives makes no group heavier.
    sampled = frame.withColumn("design_weight", F.col("weight"))
    weights = group_weights(sampled, "equal", "random").select("weight").distinct().collect()
    assert [row["weight"] for row in weights] == [1.0]
