"""The estimator in pipelines of Spark ML: fitted, stored, searched over, and refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.errors import ConfigError, ReweightError, SampleError
from reweight.spark_ml import SampleWeighter, SampleWeighterModel
from reweight.spark_ml.rows import as_samples

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("ranks_here")]

ROWS = 800
NUMBERS = ["x0", "x1", "x2"]
TRAINING = {"epochs": 4, "members": 6, "hidden": [8], "learning_rate": 0.02}
FITTING = {"batch_size": 64, "shards": 1}


def rows_of(seed: int, rows: int = ROWS) -> pd.DataFrame:
    """Two half planes, of which a tenth of the rows is labelled as the other one."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)) * [1, 50, 0.1] + [0, 7, 0], columns=NUMBERS)
    true = frame["x0"] + (frame["x1"] - 7) / 50 > 0.5
    wrong = rng.random(rows) < 0.1
    return frame.assign(
        row=np.arange(rows), label=(true ^ wrong).astype(float), wrong=wrong, value=4.0
    )


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> Iterator[DataFrame]:
    own = spark.createDataFrame(rows_of(0)).cache()
    yield own
    own.unpersist()


@pytest.fixture(scope="module")
def assembled(frame: DataFrame) -> DataFrame:
    return VectorAssembler(inputCols=NUMBERS, outputCol="features").transform(frame)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    weighter = SampleWeighter(
        method="self_confidence",
        methodOptions={"training": TRAINING},
        fitting=FITTING,
        scratchDir=str(tmp_path_factory.mktemp("scratch")),
    )
    assembler = VectorAssembler(inputCols=NUMBERS, outputCol="features")
    return Pipeline(stages=[assembler, weighter, LogisticRegression(weightCol="weight")])


@pytest.fixture(scope="module")
def fitted(pipeline: Pipeline, frame: DataFrame, ranks_here: None) -> PipelineModel:
    model: PipelineModel = pipeline.fit(frame)
    return model


def weigher(method: str = "class_balanced", **params: Any) -> SampleWeighter:
    return SampleWeighter(method=method, **params)


def weights(frame: DataFrame, *more: str) -> pd.DataFrame:
    found = frame.select("row", "importance", "weight", *more).toPandas()
    return found.sort_values("row", ignore_index=True)


def test_wrong_labels_weigh_less_and_training_rows_one_on_average(
    fitted: PipelineModel, frame: DataFrame
) -> None:
    found = weights(fitted.transform(frame), "wrong", "prediction", "label")
    assert found["weight"].mean() == pytest.approx(1, abs=1e-6)
    by = found.groupby("wrong")["importance"].mean()
    assert by[False] - by[True] > 0.2
    true = (found["label"] == 1) ^ found["wrong"]
    assert ((found["prediction"] == 1) == true).mean() > 0.95
    model = fitted.stages[1]
    ess = found["weight"].sum() ** 2 / (ROWS * (found["weight"] ** 2).sum())
    assert model.effectiveSampleSize == pytest.approx(ess, abs=1e-6)


def test_rows_that_were_never_seen_are_weighed(spark: SparkSession, fitted: PipelineModel) -> None:
    found = weights(fitted.transform(spark.createDataFrame(rows_of(1, rows=300))), "wrong")
    assert found["weight"].mean() == pytest.approx(1, abs=0.1)
    by = found.groupby("wrong")["weight"].mean()
    assert by[False] > by[True] + 0.2


def test_what_is_loaded_says_what_was_saved(
    pipeline: Pipeline, fitted: PipelineModel, frame: DataFrame, tmp_path: Path
) -> None:
    fitted.write().save(str(tmp_path / "model"))
    loaded = PipelineModel.load(str(tmp_path / "model"))
    columns = ("prediction",)
    pd.testing.assert_frame_equal(
        weights(loaded.transform(frame), *columns), weights(fitted.transform(frame), *columns)
    )
    assert isinstance(loaded.stages[1], SampleWeighterModel)
    assert loaded.stages[1].uid == fitted.stages[1].uid
    assert {path.suffix for path in (tmp_path / "model").rglob("model.*")} == {
        ".json",
        ".safetensors",
    }
    # Over what is there, as Spark ML asks.
    fitted.write().overwrite().save(str(tmp_path / "model"))

    pipeline.save(str(tmp_path / "pipeline"))
    again = Pipeline.load(str(tmp_path / "pipeline")).getStages()[1]
    assert again.explainParams() == pipeline.getStages()[1].explainParams()


def test_weights_do_not_depend_on_partitions_or_on_how_features_are_held(
    pipeline: Pipeline, fitted: PipelineModel, assembled: DataFrame
) -> None:
    arrays = assembled.withColumn("features", vector_to_array("features"))
    moved = arrays.repartition(7).orderBy(F.desc("row"))
    weighter = pipeline.getStages()[1]
    # Given again, as after a fit that ended well nothing of it is left.
    assert not any(Path(weighter.getScratchDir()).iterdir())
    other = weighter.fit(moved)
    expected = weights(fitted.stages[1].transform(assembled))
    pd.testing.assert_frame_equal(weights(other.transform(moved)), expected, rtol=1e-6)
    pd.testing.assert_frame_equal(weights(fitted.stages[1].transform(arrays)), expected)


def test_a_pipeline_predicts_without_labels_and_without_scoring(
    fitted: PipelineModel, frame: DataFrame
) -> None:
    unlabelled = fitted.transform(frame.drop("label"))
    assert unlabelled.where("weight is null and importance is null").count() == ROWS
    ranked = weigher(policy={"map": "rank", "ess_refuse": 0}).fit(fitted.stages[0].transform(frame))
    some = fitted.stages[0].transform(frame).withColumn("label", F.expr("if(row = 3, null, label)"))
    assert ranked.transform(some).where("weight is null").count() == 1
    predicted = unlabelled.select("row", "prediction").orderBy("row").toPandas()
    wanted = fitted.transform(frame).select("row", "prediction").orderBy("row").toPandas()
    pd.testing.assert_frame_equal(predicted, wanted)
    plan = fitted.transform(frame).select("prediction")._jdf.queryExecution().executedPlan()
    assert "ArrowEvalPython" not in plan.toString()


def test_a_method_without_training_has_its_known_weights(assembled: DataFrame) -> None:
    found = weights(weigher().fit(assembled).transform(assembled), "label")
    n = len(found)
    # n / (2 n_y), whose mean over the training rows is 1: a tenth is held out.
    means = found.groupby("label")["weight"].sum() / n
    assert found["weight"].mean() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(means, 0.5, atol=0.02)


def test_cross_validation_over_methods_and_policies(assembled: DataFrame) -> None:
    weighter = weigher(policy={"ess_refuse": 0})
    ranker = LogisticRegression(weightCol="weight", maxIter=5)
    grid = (
        ParamGridBuilder()
        .addGrid(weighter.method, ["class_balanced", "random"])
        .addGrid(weighter.policy, [{"mix": 0.5}])
        .build()
    )
    search = CrossValidator(
        estimator=Pipeline(stages=[weighter, ranker]),
        estimatorParamMaps=grid,
        evaluator=BinaryClassificationEvaluator(),
        numFolds=2,
        seed=0,
    )
    best = search.fit(assembled)
    assert len(best.avgMetrics) == 2
    assert min(best.avgMetrics) > 0.8
    assert best.bestModel.stages[0].fitted.weighting.mix == 0.5
    assert weighter.getPolicy() == {"ess_refuse": 0}


def test_the_policy_is_the_librarys(assembled: DataFrame) -> None:
    model = weigher(method="random", policy='{"map": "rank", "clip_ratio": 1.5}').fit(assembled)
    found = weights(model.transform(assembled))
    assert found["weight"].mean() == pytest.approx(1, abs=1e-9)
    assert found["weight"].max() == pytest.approx(1.5 * model.fitted.policy.scale)


def test_importance_and_weight_are_one_call_of_the_model(assembled: DataFrame) -> None:
    found = weigher(policy={"map": "rank"}).fit(assembled).transform(assembled)
    plan = found._jdf.queryExecution().executedPlan().toString()
    assert plan.count("ArrowEvalPython") == 1
    assert "pythonUDF1" not in plan


def test_no_segment_has_more_than_its_cap(assembled: DataFrame) -> None:
    """Of 800 rows, those of label 1 are one segment, and weigh half in all by their class."""
    rows = assembled.withColumn("who", F.when(F.col("label") == 1, "buyers").otherwise("others"))
    rows = rows.withColumn("who", F.when(F.col("row") % 3 > 0, F.col("who")))
    policy = {"segment_cap": 0.2}
    found = weigher(policy=policy, segmentCol="who").fit(rows).transform(rows)
    shares = found.groupBy("who").sum("weight").toPandas().set_index("who")["sum(weight)"] / ROWS
    assert shares["buyers"] == pytest.approx(0.2)
    assert shares["others"] == pytest.approx(0.2)
    with pytest.raises(ReweightError, match="no segments to cap"):
        weigher(policy=policy).fit(rows)


def test_columns_that_a_method_reads(assembled: DataFrame) -> None:
    weighter = weigher(method="value_weighted").setExtraCols(value="value")
    model = weighter.fit(assembled)
    found = weights(model.transform(assembled), "label")
    assert model.transform(assembled.drop("value")).where("weight is null").count() == ROWS
    # A null in the column means to the method what it means in a run: nothing was brought.
    unsaid = assembled.withColumn("value", F.lit(None).cast("double"))
    assert model.transform(unsaid).where("label = 1 and importance = 0").count() > ROWS / 4
    np.testing.assert_allclose(found["importance"], np.where(found["label"] == 1, 4.0, 1.0))


def test_labels_of_a_method_of_its_own(assembled: DataFrame) -> None:
    options = {"prior": 0.9, "training": TRAINING}
    weighter = weigher(method="pu_prior", methodOptions=options, fitting=FITTING)
    weighter = weighter.setParams(softLabelCol="p")
    found = weights(weighter.fit(assembled).transform(assembled), "p", "label")
    # A recorded positive is one; what looks negative may be one.
    assert (found["p"][found["label"] == 1] == 1).all()
    assert found["p"][found["label"] == 0].between(0, 1).all()
    assert 0.05 < found["p"][found["label"] == 0].mean() < 0.95
    assert found["weight"].mean() == pytest.approx(1, abs=1e-6)


def test_rows_of_one_id_are_one_to_the_networks(assembled: DataFrame) -> None:
    twins = assembled.where("row < 3").union(assembled.where("row < 3"))
    assert as_samples(twins, weigher()).select("sample_id").distinct().count() == 3
    named = as_samples(twins.withColumn("user", F.lit("u")), weigher(idCol="user"))
    assert named.select("sample_id").distinct().count() == 1
    numbered = as_samples(twins, weigher(idCol="row")).select("sample_id").distinct()
    assert {row["sample_id"] for row in numbered.collect()} == {0, 1, 2}


def test_rows_held_out_by_name_have_no_part_in_the_policy(assembled: DataFrame) -> None:
    held = assembled.withColumn("later", F.col("row") % 2 == 0)
    model = weigher(method="value_weighted", valueCol="row", validationIndicatorCol="later")
    found = weights(model.fit(held).transform(held))
    assert found["weight"][1::2].mean() == pytest.approx(1, abs=1e-9)
    assert abs(found["weight"].mean() - 1) > 1e-6


def test_in_a_session_of_strict_sql(spark: SparkSession, assembled: DataFrame) -> None:
    spark.conf.set("spark.sql.ansi.enabled", "true")
    try:
        found = weights(weigher().fit(assembled).transform(assembled))
    finally:
        spark.conf.set("spark.sql.ansi.enabled", "false")
    assert found["weight"].mean() == pytest.approx(1, abs=1e-9)


REFUSED: dict[str, tuple[dict[str, Any], type[ReweightError], str]] = {
    "no such label": ({"labelCol": "lable"}, SampleError, "there is no column 'lable'"),
    "another number": ({"labelCol": "x0"}, SampleError, "'x0' is not a label"),
    "one class": ({"labelCol": "value_of_one"}, SampleError, "only one value"),
    "no numbers": ({"featuresCol": "text"}, SampleError, "a vector, or an array of numbers"),
    "broken features": ({"featuresCol": "broken"}, SampleError, "NaN or too large in 1 of"),
    "name in other case": ({"outputCol": "Value"}, SampleError, "the column(s) ['Value']"),
    "one name twice": (
        {"outputCol": "W", "importanceCol": "w"},
        SampleError,
        "the columns to add have the same name",
    ),
    "name of a step": ({"outputCol": "_reweight_scores"}, SampleError, "do not begin with"),
    "reserved name of a method": ({"methodOptions": {"name": "segment"}}, ConfigError, "reserved"),
    "taken name": ({"outputCol": "value"}, SampleError, "already has the column(s) ['value']"),
    "null id": ({"idCol": "nothing"}, SampleError, "'nothing' is not an id"),
    "none held out": (
        {"method": "aum", "validationIndicatorCol": "never"},
        SampleError,
        "no row is held out",
    ),
    "unknown method": ({"method": "magic"}, ConfigError, "magic"),
    "unknown option": ({"methodOptions": {"depth": 3}}, ConfigError, "depth"),
    "unknown policy": ({"policy": {"temperature": 1}}, ConfigError, "temperature"),
    "needs a column": (
        {"method": "ipw_position", "softLabelCol": "p"},
        ConfigError,
        "positionCol: the position",
    ),
    "needs a target": ({"method": "density_ratio"}, ConfigError, "not set: targetCol"),
    "labels of its own": (
        {"method": "pu_prior", "methodOptions": {"prior": 0.9}},
        ConfigError,
        "softLabelCol",
    ),
    "made of others": (
        {"method": "product", "methodOptions": {"of": ["random", "uniform"]}},
        ConfigError,
        "a method that combines others",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_the_reason(case: str, assembled: DataFrame) -> None:
    params, kind, told = REFUSED[case]
    nan = F.array(F.when(F.col("row") == 5, F.lit(float("nan"))).otherwise(F.col("x0")))
    odd = assembled.withColumns(
        {
            "value_of_one": F.lit(1),
            "text": F.lit("a"),
            "never": F.lit(False),
            "broken": nan,
            "nothing": F.lit(None).cast("string"),
        }
    )
    with pytest.raises(kind) as caught:
        weigher(**params).fit(odd)
    assert told in str(caught.value)
    assert "fix:" in str(caught.value)


def test_names_are_found_and_quoted_as_spark_does(assembled: DataFrame) -> None:
    dotted = {"label": "is.positive", "features": "all.features", "row": "row id", "wrong": "a`b"}
    odd = assembled.withColumnsRenamed(dotted)
    params = {
        "labelCol": "IS.Positive",
        "featuresCol": "All.Features",
        "idCol": "Row ID",
        "validationIndicatorCol": "A`B",
        "valueCol": "VALUE",
        "outputCol": "my.weight",
    }
    model = weigher(method="value_weighted", **params).fit(odd)
    scored = model.transform(odd)
    assert scored.schema == model.transformSchema(odd.schema)
    plain = weigher(
        method="value_weighted", idCol="row", validationIndicatorCol="wrong", valueCol="value"
    )
    expected = weights(plain.fit(assembled).transform(assembled))
    got = scored.toPandas().sort_values("row id", ignore_index=True)
    np.testing.assert_array_equal(got["my.weight"], expected["weight"])
    # A user's column of the same letters is not replaced.
    heavy = assembled.withColumn("Weight", F.lit(70.0))
    for check in (weigher().transformSchema, weigher().fit(assembled).transformSchema):
        with pytest.raises(SampleError) as caught:
            check(heavy.schema)
        assert caught.value.what == "the frame already has the column(s) ['weight']"
    twice = assembled.select("*", F.col("label").alias("Label"))
    with pytest.raises(SampleError, match="'label' is ambiguous"):
        weigher().fit(twice)


def test_a_row_without_features_ends_the_job_with_the_reason(assembled: DataFrame) -> None:
    model = weigher().fit(assembled)
    short = assembled.withColumn("features", F.array("x0"))
    # Spark 3.5 leaves errors of tasks to Py4J.
    with pytest.raises((PySparkException, Py4JJavaError), match="expected 3 features"):
        model.transform(short).agg(F.sum("weight")).collect()


def test_labels_to_score_are_those_that_can_be_fitted(assembled: DataFrame) -> None:
    model = weigher().fit(assembled)
    labels = "CASE row WHEN 0 THEN double('nan') WHEN 1 THEN null ELSE label END"
    odd = assembled.withColumn("label", F.expr(labels))
    assert weights(model.transform(odd))["weight"].isna().tolist()[:3] == [True, True, False]
    rated = assembled.withColumn("label", F.expr("if(row = 3, 4, label)"))
    with pytest.raises((PySparkException, Py4JJavaError), match="expected labels 0 and 1"):
        model.transform(rated).agg(F.sum("weight")).collect()


def test_parameters_of_the_wrong_kind_are_named() -> None:
    with pytest.raises(TypeError, match='param "policy"'):
        weigher(policy="mix: 1")
    with pytest.raises(TypeError, match="between 0 and 1"):
        weigher(validationFraction=2.0)
    assert "held out of training" in weigher().explainParam("validationFraction")


def test_a_copy_takes_other_values(assembled: DataFrame) -> None:
    weighter = weigher()
    model = weighter.fit(assembled, {weighter.outputCol: "sample_weight"})
    assert model.getOutputCol() == "sample_weight"
    assert model.transformSchema(assembled.schema) == model.transform(assembled).schema
    assert weighter.getOutputCol() == "weight"
