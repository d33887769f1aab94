# Databricks notebook source
# MAGIC %md
# MAGIC # Quick start
# MAGIC
# MAGIC A simulated shop, from raw logs to a report on which weights helped the ranker. The same
# MAGIC file runs as a notebook (Databricks, or Jupyter after `make notebooks`) and as plain Python:
# MAGIC
# MAGIC     python notebooks/quick_start.py

# COMMAND ----------

import os
from pathlib import Path

import reweight

# The size of the shop, and the folder of tables and runs: on a cluster, one that all hosts share.
sessions = os.environ.get("REWEIGHT_NOTEBOOK_SESSIONS", "3000")
root = os.environ.get("REWEIGHT_NOTEBOOK_ROOT", "out/quick_start")
# A notebook starts in its own folder, a script in the current one.
places = (Path("conf/demo.yaml"), Path("../conf/demo.yaml"))
config = next(path for path in places if path.exists())

# COMMAND ----------

# MAGIC %md
# MAGIC ## The whole pipeline
# MAGIC
# MAGIC Every stage prints a summary. An existing Spark session is used and keeps running; an interrupted run
# MAGIC continues where it stopped.

# COMMAND ----------

run = reweight.run(
    config,
    "run_id=quick_start",
    f"root={root}",
    f"simulation.sessions={sessions}",
    "importance=[{method: random}, {method: self_confidence}]",
    "ranking.recalibrate=[]",
    "fitting.ranks=1",
)
run

# COMMAND ----------

# MAGIC %md
# MAGIC ## The report

# COMMAND ----------

run.show()

# COMMAND ----------

# MAGIC %md
# MAGIC One plot of the report, and the numbers behind it.

# COMMAND ----------

run.show("weights")
metrics = run.metrics
test = metrics[(metrics["split"] == "test") & metrics["segment"].isna()]
test[test["name"] == "ranking_log_loss"].sort_values(["judge", "value"])

# COMMAND ----------

# MAGIC %md
# MAGIC ## The weights, for your own model
# MAGIC
# MAGIC One row per sample and method. Join them to the samples on `sample_id`; your own table can compute it
# MAGIC from the columns of `sampling.key`.

# COMMAND ----------

weights = run.weights.where("method = 'self_confidence'").select(
    "sample_id", "importance", "weight"
)
train = run.samples.where("split = 'train'").join(weights, on="sample_id", how="inner")
train.groupBy("label").agg({"*": "count", "weight": "avg", "importance": "avg"}).show()

# COMMAND ----------

# MAGIC %md
# MAGIC Later, or in another notebook, load the run by its name.

# COMMAND ----------

same = reweight.load("quick_start", root=root)
assert same.weights.count() == run.weights.count()
same
