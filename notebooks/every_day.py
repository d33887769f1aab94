# Databricks notebook source
# MAGIC %md
# MAGIC # Every day
# MAGIC
# MAGIC A run learns what samples are worth; then each day of the log is weighed with its models, watched, and
# MAGIC one decision says whether these weights go live. The shop is simulated: purchases are taken back, tastes
# MAGIC turn from the ninth day on, and of the eleventh most lines are lost. The same file runs as a notebook and
# MAGIC as plain Python:
# MAGIC
# MAGIC     python notebooks/every_day.py

# COMMAND ----------

import os
from pathlib import Path

from pyspark.sql import functions as F

import reweight
from reweight.runner.pipeline import daily, monitor, promote

# The size of the shop, and the folder of tables and runs: on a cluster, one that all hosts share.
sessions = os.environ.get("REWEIGHT_NOTEBOOK_SESSIONS", "2400")
root = os.environ.get("REWEIGHT_NOTEBOOK_ROOT", "out/every_day")
# A notebook starts in its own folder, a script in the current one.
conf = next(path for path in (Path("conf"), Path("../conf")) if path.exists())
shop = (
    f"root={root}",
    f"simulation.sessions={sessions}",
    "simulation.days=12",
    "simulation.drift_from=8",
    "simulation.lost={2026-01-11: 0.9}",
    "splits.cuts=['2026-01-03', '2026-01-06']",
    "sampling.label.window=1 day",
    "sampling.label.undo.window=12 hours",
    "importance=[{method: random}, {method: class_balanced}]",
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The reference: a run over the first eight days

# COMMAND ----------

reference = reweight.run(
    conf / "daily_reference.yaml", *shop, "cleaning.sources.log.where=ts < '2026-01-09'"
)
print(reference.report["verdict"]["text"])

# COMMAND ----------

# MAGIC %md
# MAGIC ## Four days, with the models of the reference
# MAGIC
# MAGIC Nothing is fitted again. Each day adds its events, and makes the samples again whose label windows were
# MAGIC open: a label is open, then positive or negative, and a refund may take it back. In production this is
# MAGIC `jobs/daily.py CONFIG --day D`, once a night.

# COMMAND ----------

days = reweight.run(
    conf / "daily_demo.yaml",
    *shop,
    "daily.first='2026-01-09'",
    "daily.begin='2026-01-09'",
    "daily.end='2026-01-12'",
    stages=[daily],
)
days.samples.groupBy(F.to_date("event_time").alias("day")).agg(
    F.sum("label").alias("positive"),
    F.count("undo_time").alias("taken back"),
    F.avg(F.col("mature").cast("int")).alias("share settled"),
).orderBy("day").show()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Do these days look like those that the models know?
# MAGIC
# MAGIC One row for each day and measure, with the limit beyond which it raises an alarm; `monitor.html` in the
# MAGIC run's folder shows them all. A job ends with an exit status of its own for each kind of alarm.

# COMMAND ----------

reweight.run(conf / "daily_demo.yaml", *shop, "daily.first='2026-01-09'", stages=[monitor])
alarms = days.table("monitoring").where("alarm")
alarms.select("day", "measure", "of", "value", "limit").orderBy("day", "measure").show()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Does it go live?
# MAGIC
# MAGIC Only if a judge finds it better than what is live, which is nothing yet. The decision is a row with its
# MAGIC reason, whatever it is.

# COMMAND ----------

live = reweight.run(
    conf / "daily_reference.yaml",
    *shop,
    "run_id=live",
    "promotion.challenger=reference",
    stages=[promote],
)
decision = live.table("promotions").first()
print(decision["decision"], "-", decision["reason"])
