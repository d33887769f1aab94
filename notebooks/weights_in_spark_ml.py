# Databricks notebook source
# MAGIC %md
# MAGIC # Weights in a pipeline of Spark ML
# MAGIC
# MAGIC `SampleWeighter` is an estimator: it learns what each row of a frame is worth and adds the column
# MAGIC `weight`, which the next stage takes as its `weightCol`. Here a tenth of the labels is wrong, and
# MAGIC we know which. The same file runs as a notebook and as plain Python:
# MAGIC
# MAGIC     python notebooks/weights_in_spark_ml.py

# COMMAND ----------

import os
import sys
import tempfile

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.spark_ml import SampleWeighter

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
spark = SparkSession.builder.getOrCreate()
rows = int(os.environ.get("REWEIGHT_NOTEBOOK_ROWS", "20000"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Clicks whose label is sometimes wrong

# COMMAND ----------

drawn = spark.range(rows).select(
    "id",
    *[F.randn(seed).alias(name) for seed, name in enumerate(("price", "rating", "age"))],
    (F.rand(7) < 0.1).alias("wrong"),
)
odds = 2 * F.col("rating") - F.col("price")
log = drawn.withColumn("label", ((odds > 0) != F.col("wrong")).cast("double")).cache()
log.groupBy("label", "wrong").count().orderBy("label", "wrong").show()

# COMMAND ----------

# MAGIC %md
# MAGIC ## A pipeline
# MAGIC
# MAGIC Training runs on executors. On a cluster set `scratchDir` to a folder that driver and executors
# MAGIC see under the same path (a volume, DBFS, NFS): the rows go there for the training, and are removed.

# COMMAND ----------

assembler = VectorAssembler(inputCols=["price", "rating", "age"], outputCol="features")
weighter = SampleWeighter(
    method="self_confidence",
    methodOptions={"training": {"epochs": 5}},
    policy={"clip_ratio": 5},
)
ranker = LogisticRegression(weightCol="weight")
model = Pipeline(stages=[assembler, weighter, ranker]).fit(log)
scored = model.transform(log)
scored.groupBy("wrong").agg(F.avg("importance"), F.avg("weight")).show()

# COMMAND ----------

# MAGIC %md
# MAGIC The rows that it trusts least, and how many of them are wrong. `weighter.explainParams()` says what
# MAGIC can be set.

# COMMAND ----------

worst = scored.orderBy("importance").limit(rows // 20)
worst.agg(F.avg(F.col("wrong").cast("double")).alias("share of wrong labels")).show()
print(f"effective sample size: {model.stages[1].effectiveSampleSize:.1%} of the rows")
print(weighter.explainParam("policy"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Saved, loaded, and used without labels
# MAGIC
# MAGIC Parameters are JSON and tensors safetensors. Where there is no label, importance and weight are
# MAGIC null; a plan that uses neither does not compute them.

# COMMAND ----------

with tempfile.TemporaryDirectory() as folder:
    model.write().overwrite().save(f"file:{folder}/model")
    loaded = PipelineModel.load(f"file:{folder}/model")
same = loaded.transform(log).select("id", F.col("weight").alias("again")).join(scored, "id")
assert same.where("abs(again - weight) > 1e-9").isEmpty()
loaded.transform(log.drop("label")).select("id", "probability", "prediction").show(3)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Which settings?
# MAGIC
# MAGIC Methods and policies are parameters like others; with `mix` 0 all rows weigh the same. The judge
# MAGIC must not be the weights' own: the evaluator takes the rows of the other folds as they are.

# COMMAND ----------

policies = [{"mix": 0.0}, {"clip_ratio": 5}]
search = CrossValidator(
    estimator=Pipeline(stages=[assembler, weighter, ranker]),
    estimatorParamMaps=ParamGridBuilder().addGrid(weighter.policy, policies).build(),
    evaluator=BinaryClassificationEvaluator(),
    numFolds=2,
    seed=0,
)
found = search.fit(log)
for policy, auc in zip(policies, found.avgMetrics, strict=True):
    print(policy, f"AUC {auc:.4f}")
