# Databricks notebook source
# MAGIC %md
# MAGIC # Weights in a Spark ML pipeline
# MAGIC
# MAGIC `SampleWeighter` is an estimator: it learns what each row of a DataFrame is worth and adds the column
# MAGIC `weight`, which the next stage uses as its `weightCol`. Here a tenth of the labels are wrong, and we
# MAGIC know which. The same file runs as a notebook and as plain Python:
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
from pyspark.ml.tuning import ParamGridBuilder, TrainValidationSplit
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.spark_ml import SampleWeighter

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
spark = SparkSession.builder.getOrCreate()
rows = int(os.environ.get("REWEIGHT_NOTEBOOK_ROWS", "20000"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Clicks with some wrong labels

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
# MAGIC Training runs on the executors. On a cluster, set `scratchDir` to a folder that the driver and all
# MAGIC executors see under the same path (a volume, DBFS, NFS): it holds the rows during training.

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
# MAGIC The rows with the lowest importance, and how many of their labels are wrong. `weighter.explainParams()`
# MAGIC lists all parameters.

# COMMAND ----------

worst = scored.orderBy("importance").limit(rows // 20)
worst.agg(F.avg(F.col("wrong").cast("double")).alias("share of wrong labels")).show()
print(f"effective sample size: {model.stages[1].effectiveSampleSize:.1%} of the rows")
print(weighter.explainParam("policy"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Save, load, and use without labels
# MAGIC
# MAGIC Parameters are saved as JSON, tensors as safetensors. Rows without a label get null as importance and
# MAGIC weight; a query that uses neither does not compute them.

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
# MAGIC Method and policy are parameters like any other; with `mix` 0 all rows have the same weight. A metric
# MAGIC must not depend on the weights under test: the evaluator uses the held-out rows unweighted. A
# MAGIC `CrossValidator` works in the same way; it trains every candidate once per fold.

# COMMAND ----------

policies = [{"mix": 0.0}, {"clip_ratio": 5}]
search = TrainValidationSplit(
    estimator=Pipeline(stages=[assembler, weighter, ranker]),
    estimatorParamMaps=ParamGridBuilder().addGrid(weighter.policy, policies).build(),
    evaluator=BinaryClassificationEvaluator(),
    seed=0,
)
fitted = search.fit(log)
for policy, auc in zip(policies, fitted.validationMetrics, strict=True):
    print(policy, f"AUC {auc:.4f}")
