"""Scoring on Spark: what the models give in this process, in one pass for all of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.columns import in_sample_flag, soft_label
from reweight.core.sequences import SequenceShape
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch, Sequences
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.class_balanced import ClassBalanced
from reweight.importance.methods.density_ratio import DensityRatio
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.pu_prior import PuPrior
from reweight.importance.methods.random import Random
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.uniform import Uniform
from reweight.importance.training import TrainFacts
from reweight.score_weights.scoring import scored

ROWS = 300
QUANTILES = ((-2.0, -0.5, 0.5, 2.0),) * 6
FACTS = TrainFacts(
    dim=6, cardinalities=(4, 7), rows=ROWS, positives=75, seed=3, quantiles=QUANTILES
)
HALVES = {"members": 5, "hidden": (8,), "bins": 3}
METHODS: dict[str, ImportanceMethod] = {
    "uniform": Uniform(),
    "random": Random(),
    "class_balanced": ClassBalanced(),
    "folds": ImportanceMlp.model_validate({"training": {"hidden": (16, 8)}, "cross_fit": 5}),
    "in_sample": ImportanceMlp.model_validate(
        {"preset": "reference", "training": {"hidden": (16,)}}
    ),
    "halves": SelfConfidence.model_validate({"training": HALVES}),
    "margin": SelfConfidence.model_validate({"training": HALVES, "margin": True}),
}

TRAINED = ["folds", "in_sample", "halves", "margin"]


def batch_of() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        sample_id=torch.randint(-(2**63), 2**63 - 1, (ROWS,), generator=generator),
        features=torch.randn((ROWS, 6), generator=generator),
        ids=torch.stack(
            [torch.randint(0, size, (ROWS,), generator=generator) for size in (4, 7)], dim=1
        ),
        label=(torch.arange(ROWS) % 4 == 0).float(),
    )


def models_of(facts: TrainFacts) -> dict[str, ModelArtifact]:
    return {name: ModelArtifact.of(m, facts, m.build(facts)) for name, m in METHODS.items()}


def expected(batch: Batch, facts: TrainFacts) -> dict[str, list[float]]:
    with torch.inference_mode():
        return {name: method.build(facts)(batch).tolist() for name, method in METHODS.items()}


def scores(samples: DataFrame, models: dict[str, ModelArtifact]) -> dict[int, dict[str, float]]:
    rows = scored(samples, models, ("sample_id",)).collect()
    return {row["sample_id"]: row.asDict() for row in rows}


def assert_scores(
    found: dict[int, dict[str, float]], batch: Batch, wanted: dict[str, list[float]]
) -> None:
    assert found.keys() == set(batch.sample_id.tolist())
    for name, values in wanted.items():
        own = [found[sample_id][name] for sample_id in batch.sample_id.tolist()]
        np.testing.assert_allclose(own, values, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def samples(spark: SparkSession) -> DataFrame:
    batch = batch_of()
    schema = spark.createDataFrame(
        [], "sample_id bigint, features array<float>, ids array<int>, label float"
    ).schema
    columns = [getattr(batch, name).tolist() for name in schema.names]
    rows = list(zip(*columns, strict=True))
    return spark.createDataFrame(rows, schema).repartition(2).cache()


def test_spark_scores_as_the_models_do_in_this_process(samples: DataFrame) -> None:
    wanted = expected(batch_of(), FACTS)
    assert_scores(scores(samples, models_of(FACTS)), batch_of(), wanted)
    # Methods do not agree with one another, so none stands in another's place.
    assert len({values[0] for values in wanted.values()}) == len(METHODS)


@pytest.mark.parametrize("partitions", [1, 5])
def test_scores_do_not_depend_on_how_rows_are_partitioned(
    samples: DataFrame, partitions: int
) -> None:
    moved = samples.orderBy(F.rand(1)).repartition(partitions)
    assert_scores(scores(moved, models_of(FACTS)), batch_of(), expected(batch_of(), FACTS))


def test_rows_without_ids_are_scored(samples: DataFrame) -> None:
    facts, batch = FACTS.model_copy(update={"cardinalities": ()}), batch_of()
    without = Batch(batch.sample_id, batch.features, batch.ids[:, :0], batch.label)
    bare = samples.withColumn("ids", F.array().cast("array<int>"))
    assert_scores(scores(bare, models_of(facts)), without, expected(without, facts))


def test_sequences_are_sent_to_the_networks_that_read_them(samples: DataFrame) -> None:
    shape = SequenceShape(length=2, fields={"item": 7, "kind": 3}, shared={"item": 1})
    facts, plain = FACTS.model_copy(update={"sequence": shape}), batch_of()
    i = plain.sample_id
    gaps = torch.stack([(i % 11) / 2, torch.full((ROWS,), -1.0)], dim=1)
    ids = torch.stack([i % 7, i % 3, 0 * i, 0 * i], dim=1).reshape(-1, 2, 2)
    batch = replace(plain, sequence=Sequences(ids, gaps))
    folds = {"training": {"hidden": (8,), "network": "gru"}, "name": "gru"}
    halves = {"training": {**HALVES, "network": "cnn"}, "name": "cnn"}
    methods = [ImportanceMlp.model_validate(folds), SelfConfidence.model_validate(halves)]
    models = {m.name: ModelArtifact.of(m, facts, m.build(facts)) for m in methods}
    models["folds"] = models_of(facts)["folds"]
    with_past = samples.withColumns(
        {
            "sequence_ids": F.expr(
                "cast(array(pmod(sample_id, 7), pmod(sample_id, 3), 0, 0) AS array<int>)"
            ),
            "sequence_gaps": F.expr("array(float(pmod(sample_id, 11) / 2), float(-1))"),
        }
    )
    with torch.inference_mode():
        wanted = {m.name: m.build(facts)(batch).tolist() for m in methods}
        wanted["folds"] = METHODS["folds"].build(facts)(plain).tolist()
    assert_scores(scores(with_past, models), batch, wanted)


def test_scoring_keeps_the_columns_that_are_asked_for(samples: DataFrame) -> None:
    rows = scored(samples, models_of(FACTS), ("label", "sample_id"))
    assert rows.dtypes == [
        ("label", "float"),
        ("sample_id", "bigint"),
        *[(name, "float") for name in METHODS],
        *[(in_sample_flag(name), "boolean") for name in TRAINED],
    ]
    labels = {row["sample_id"]: row["label"] for row in samples.collect()}
    assert {row["sample_id"]: row["label"] for row in rows.collect()} == labels


def test_further_columns_that_a_method_needs_are_sent_as_numbers_and_kept_as_they_are(
    samples: DataFrame,
) -> None:
    training = {"members": 2, "hidden": (4,), "bins": 3}
    method = DensityRatio.model_validate({"training": training})
    assert method.columns() == ("target",)
    models = {"ratio": ModelArtifact.of(method, FACTS, method.build(FACTS))}
    with torch.inference_mode():
        wanted = {"ratio": method.build(FACTS)(batch_of()).tolist()}
    marked = samples.withColumn("target", F.col("label") == 1)
    rows = scored(marked, models, ("sample_id", "target")).collect()
    assert_scores({row["sample_id"]: row.asDict() for row in rows}, batch_of(), wanted)
    assert {type(row["target"]) for row in rows} == {bool}
    with pytest.raises(AnalysisException, match="target"):
        scored(samples, models, ("sample_id",))


def test_soft_labels_are_a_column_beside_the_importance(samples: DataFrame) -> None:
    method = PuPrior.model_validate({"prior": 0.5, "training": HALVES})
    stored = ModelArtifact.of(method, FACTS, method.build(FACTS))
    rows = scored(samples, {"pu": stored, **models_of(FACTS)}, ("sample_id",))
    assert rows.columns == [
        "sample_id",
        *["pu", *METHODS, soft_label("pu")],
        *[in_sample_flag(name) for name in ("pu", *TRAINED)],
    ]
    with torch.inference_mode():
        wanted = stored.model().soft_label(EnsembleOutputs(batch_of()))
    found = {row["sample_id"]: row.asDict() for row in rows.collect()}
    assert_scores(found, batch_of(), {"pu": [1.0] * ROWS, soft_label("pu"): wanted.tolist()})


def test_rows_that_all_members_see_are_marked(samples: DataFrame) -> None:
    marks = [in_sample_flag(name) for name in TRAINED]
    rows = scored(samples, models_of(FACTS), ("sample_id",)).select("sample_id", *marks).toPandas()
    shares = rows[marks].mean().to_dict()
    assert shares[in_sample_flag("folds")] == 0
    assert shares[in_sample_flag("in_sample")] == 1
    assert rows[in_sample_flag("halves")].equals(
        rows[in_sample_flag("margin")].rename(in_sample_flag("halves"))
    )
    learner = METHODS["halves"].build(FACTS).checkpoints()[0]
    marked = learner.in_sample(torch.tensor(rows["sample_id"].to_numpy()))
    assert 0 < marked.sum() < ROWS / 8
    assert rows[in_sample_flag("halves")].tolist() == marked.tolist()


def test_no_rows_are_no_scores(samples: DataFrame) -> None:
    assert scores(samples.where("label = 2"), models_of(FACTS)) == {}
