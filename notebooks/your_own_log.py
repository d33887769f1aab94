# Databricks notebook source
# MAGIC %md
# MAGIC # Your own log in thirty lines
# MAGIC
# MAGIC From a file of clicks and purchases to weights in your own training table. The log here is made up, so
# MAGIC the notebook runs anywhere: replace its path and column names by yours. The same file runs as a
# MAGIC notebook and as plain Python:
# MAGIC
# MAGIC     python notebooks/your_own_log.py

# COMMAND ----------

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import functions as F

import reweight

rows = int(os.environ.get("REWEIGHT_NOTEBOOK_ROWS", "20000"))
# The folder of tables and runs: on a cluster, one that all hosts share.
root = os.environ.get("REWEIGHT_NOTEBOOK_ROOT", "out/your_own_log")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The log
# MAGIC
# MAGIC A line for each click and each purchase, with typical faults: duplicate lines, missing items, prices
# MAGIC that are not numbers.

# COMMAND ----------

draw = np.random.default_rng(0)
clicks = pd.DataFrame(
    {
        "ts": pd.Timestamp("2026-03-01") + pd.to_timedelta(draw.integers(0, 28 * 86400, rows), "s"),
        "type": "CLICK",
        "user": draw.integers(1, rows // 8, rows),
        "item": draw.integers(1, 200, rows),
    }
)
clicks["price"] = 5 + clicks["item"] % 40
bought = clicks[draw.random(rows) < 1 / (1 + np.exp((clicks["price"] - 15) / 6))]
purchases = bought.assign(type="purchase", ts=bought["ts"] + pd.Timedelta(hours=5))
lines = pd.concat([clicks, purchases, clicks.head(9)]).astype("string")
lines.loc[lines.index[20:25], "item"] = ""
lines.loc[lines.index[30:33], "price"] = "free"
log = Path(tempfile.mkdtemp()) / "log.csv"
lines.to_csv(log, index=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The run
# MAGIC
# MAGIC A run is one YAML file; here it is text in a cell. Expressions are Spark SQL over the raw columns.
# MAGIC Every click is a sample; it is positive if the user buys the item within three days.

# COMMAND ----------

config = yaml.safe_load(f"""
run_id: my_log
root: {root}
cleaning:
  sources:
    log: {{path: "{log}", format: csv}}
  columns:
    event_time: try_to_timestamp(ts)
    event_type: lower(type)
    user_id: try_cast(user AS bigint)
    item_id: try_cast(item AS bigint)
    price: try_cast(price AS double)
  required: [user_id, item_id, price]
  allowed: {{event_type: [click, purchase]}}
sampling:
  anchor: event_type = 'click'
  key: [user_id, item_id, event_time]
  group: user_id
  label: {{where: event_type = 'purchase', keys: [user_id, item_id], window: 3 days}}
splits: {{by: time, shares: [0.6, 0.2, 0.2]}}
features:
  numeric: {{log_price: log1p(price)}}
  cyclic: [hour_of_day, day_of_week]
  history:
    item: {{keys: [item_id], counts: {{bought: event_type = 'purchase'}}, windows: [7 days, all]}}
    user: {{keys: [user_id], counts: {{clicked: event_type = 'click'}}, windows: [all]}}
importance:
  - {{method: random}}
  - {{method: self_confidence}}
""")
run = reweight.run(config)
run

# COMMAND ----------

# MAGIC %md
# MAGIC ## What happened to each line
# MAGIC
# MAGIC Nothing is dropped silently: a line either becomes an event or is in `rejected`, with all reasons.

# COMMAND ----------

run.rejected.groupBy("reasons").count().show(truncate=False)
assert run.events.count() + run.rejected.count() == len(lines)
run.samples.groupBy("split").agg(F.count("*"), F.avg("label"), F.min("event_time")).show()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Did weights help?
# MAGIC
# MAGIC Differences to `uniform` with their intervals, on the newest fifth of the log. `run.show()` shows the
# MAGIC whole report.

# COMMAND ----------

print(run.report["verdict"]["text"])
run.show("weights")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The weights in your own training table
# MAGIC
# MAGIC Your table has other features and no `sample_id`. Compute it: it is the hash of the columns of
# MAGIC `sampling.key`, in their order and with the types that `cleaning.columns` gives them.

# COMMAND ----------

clicked = run.events.where("event_type = 'click'").select(
    "user_id", "item_id", "event_time", "price", F.hour("event_time").alias("hour")
)
keyed = clicked.withColumn("sample_id", F.xxhash64("user_id", "item_id", "event_time"))
weights = run.weights.where("method = 'self_confidence'").select("sample_id", "weight")
train = (
    keyed.join(weights, on="sample_id", how="inner")
    .join(run.samples.where("split = 'train'").select("sample_id", "label"), on="sample_id")
    .withColumn("label", F.col("label").cast("double"))
    .cache()
)
print(f"{train.count()} rows, mean weight {train.agg(F.avg('weight')).first()[0]:.3f}")

# COMMAND ----------

# MAGIC %md
# MAGIC The weights also work in a search over the settings of a ranker: every candidate is trained with the
# MAGIC same weights and judged on unweighted rows.

# COMMAND ----------

ranker = LogisticRegression(weightCol="weight")
search = CrossValidator(
    estimator=Pipeline(
        stages=[VectorAssembler(inputCols=["price", "hour"], outputCol="features"), ranker]
    ),
    estimatorParamMaps=ParamGridBuilder().addGrid(ranker.regParam, [0.0, 0.1]).build(),
    evaluator=BinaryClassificationEvaluator(),
    numFolds=2,
    seed=0,
)
for setting, auc in zip((0.0, 0.1), search.fit(train).avgMetrics, strict=True):
    print(f"regParam {setting}: AUC {auc:.4f}")
