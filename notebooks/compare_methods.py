# Databricks notebook source
# MAGIC %md
# MAGIC # Compare methods, and read the report
# MAGIC
# MAGIC One run with several methods on the simulated shop, and what each number of the report is there for.
# MAGIC The same file runs as a notebook and as plain Python:
# MAGIC
# MAGIC     python notebooks/compare_methods.py

# COMMAND ----------

import os
from pathlib import Path

import pandas as pd

import reweight

# The size of the shop, and where tables and runs go: on a cluster a folder that all hosts share.
sessions = os.environ.get("REWEIGHT_NOTEBOOK_SESSIONS", "3000")
root = os.environ.get("REWEIGHT_NOTEBOOK_ROOT", "out/compare_methods")
# A notebook starts in its own folder, a script where it was called.
places = (Path("conf/demo.yaml"), Path("../conf/demo.yaml"))
config = next(path for path in places if path.exists())

# COMMAND ----------

# MAGIC %md
# MAGIC ## One run, several methods
# MAGIC
# MAGIC Methods that read the same training share it, so that the third and fourth cost next to nothing.
# MAGIC `uniform` is always there: every result is a difference to it.

# COMMAND ----------

run = reweight.run(
    config,
    "run_id=compare",
    f"root={root}",
    f"simulation.sessions={sessions}",
    "importance=[{method: random}, {method: class_balanced}, {method: self_confidence}, "
    "{method: data_maps}, {method: el2n}]",
    "fitting.ranks=1",
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## 1. Is a difference more than chance?
# MAGIC
# MAGIC Each row is the ranker trained on one method's weights, judged on the newest, unweighted rows. The
# MAGIC interval is of the *paired* difference to `uniform`, users resampled: if it holds 0, the run cannot
# MAGIC tell them apart. `random` knows nothing; a difference as large as its own may be chance.

# COMMAND ----------

metrics = run.metrics
overall = metrics[(metrics["split"] == "test") & metrics["segment"].isna()]


def differences(name: str) -> pd.DataFrame:
    """Of a metric, to `uniform`, with their intervals."""
    own = overall[(overall["name"] == name) & (overall["kind"] == "difference")]
    return own.set_index("method")[["value", "low", "high"]]


print(run.report["verdict"]["text"])
differences("log_loss")

# COMMAND ----------

# MAGIC %md
# MAGIC ## 2. What did it cost?
# MAGIC
# MAGIC Unequal weights throw information away: `ess_share` is the share of the training rows that is left
# MAGIC in effect. Weights that halve it have to bring more than half of the rows did.

# COMMAND ----------

costs = metrics[(metrics["kind"] == "weight") & metrics["segment"].isna()]
costs.pivot_table(index="method", columns="name", values="value").round(3)

# COMMAND ----------

# MAGIC %md
# MAGIC ## 3. The order, and the probability
# MAGIC
# MAGIC AUC sees the order alone; log loss sees whether a probability of 0.1 comes true one time in ten. A
# MAGIC method that moves the base rate (`class_balanced`) keeps the first and loses the second, unless the
# MAGIC ranker is recalibrated on validation rows (`ranking.recalibrate`).

# COMMAND ----------

pd.concat({name: differences(name) for name in ("log_loss", "auc", "ece")}, axis=1).round(4)

# COMMAND ----------

# MAGIC %md
# MAGIC ## 4. Who pays for it?
# MAGIC
# MAGIC AUC by segment (`sampling.segment`), and the log loss of the segment that fares worst: a mean may hide
# MAGIC that a small group is worse off.

# COMMAND ----------

by_segment = metrics[(metrics["split"] == "test") & metrics["segment"].notna()]
areas = by_segment[by_segment["name"] == "auc"]
areas = areas.pivot_table(index="method", columns="segment", values="value")
areas.join(differences("worst_group_log_loss").add_prefix("worst_log_loss_")).round(4)

# COMMAND ----------

# MAGIC %md
# MAGIC ## 5. Does the method do what it says?
# MAGIC
# MAGIC Importance by label, what drives it, and the rows at both ends, to look at: the highest and lowest
# MAGIC of a method that you trust should look right to you.

# COMMAND ----------

print(sorted(run.figures))
run.show("by_label")
ends = run.report["extremes"]["self_confidence"]
pd.DataFrame(ends["lowest"]).head()

# COMMAND ----------

# MAGIC %md
# MAGIC ## The page
# MAGIC
# MAGIC All of it, with plots, is one HTML file that needs nothing beside it. One run judges one log: before
# MAGIC you decide, run further seeds (`seed=1`) or days, and `jobs/conditions.py`, where the truth is known.

# COMMAND ----------

run.show()
