# Databricks notebook source
# MAGIC %md
# MAGIC # Compare methods and read the report
# MAGIC
# MAGIC One run with several methods on the simulated shop, and what the numbers of its report mean. The same
# MAGIC file runs as a notebook and as plain Python:
# MAGIC
# MAGIC     python notebooks/compare_methods.py

# COMMAND ----------

import os
from pathlib import Path

import pandas as pd

import reweight

# The size of the shop, and the folder of tables and runs: on a cluster, one that all hosts share.
sessions = os.environ.get("REWEIGHT_NOTEBOOK_SESSIONS", "3000")
root = os.environ.get("REWEIGHT_NOTEBOOK_ROOT", "out/compare_methods")
# A notebook starts in its own folder, a script in the current one.
places = (Path("conf/demo.yaml"), Path("../conf/demo.yaml"))
config = next(path for path in places if path.exists())

# COMMAND ----------

# MAGIC %md
# MAGIC ## One run, several methods
# MAGIC
# MAGIC Methods with the same training share it, so `data_maps` and `el2n` cost almost nothing here. `uniform`
# MAGIC is always included: every result is a difference to it.

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
# MAGIC ## 1. Is a difference significant?
# MAGIC
# MAGIC Each row is the ranker trained on one method's weights, on the newest rows, as a judge sees it. The
# MAGIC interval is that of the *paired* difference to `uniform`, from resampled users. If it contains 0, there
# MAGIC is no significant difference. `random` knows nothing: a difference no larger than its own may be chance.
# MAGIC Recorded labels share the faults that weights mend, so they are one judge among several; the ranking
# MAGIC loss is what is left of the log loss after an intercept and a slope were refitted, which costs nothing.

# COMMAND ----------

metrics = run.metrics
judge = run.report["judge"]  # the first one that can tell; "recorded" is always there
test = metrics[(metrics["split"] == "test") & (metrics["judge"] == judge)]
overall = test[test["segment"].isna()]


def differences(name: str) -> pd.DataFrame:
    """Differences of a metric to `uniform`, with their intervals."""
    rows = overall[(overall["name"] == name) & (overall["kind"] == "difference")]
    return rows.set_index("method")[["value", "low", "high"]]


print(run.report["verdict"]["text"])
differences("ranking_log_loss")

# COMMAND ----------

# MAGIC %md
# MAGIC ## 2. What did it cost?
# MAGIC
# MAGIC Unequal weights lose information: `ess_share` is the effective sample size as a share of the training
# MAGIC rows. Weights that halve it must be worth more than half of the rows.

# COMMAND ----------

costs = metrics[(metrics["kind"] == "weight") & metrics["segment"].isna()]
costs.pivot_table(index="method", columns="name", values="value").round(3)

# COMMAND ----------

# MAGIC %md
# MAGIC ## 3. Ranking and calibration
# MAGIC
# MAGIC AUC depends only on the order of the rows; log loss also on whether a probability of 0.1 comes true one
# MAGIC time in ten. A method that shifts the base rate (`class_balanced`) keeps the first and hurts the second,
# MAGIC its level, unless the ranker's intercept is refitted on the unweighted training rows
# MAGIC (`ranking.recalibrate`).

# COMMAND ----------

pd.concat(
    {name: differences(name) for name in ("ranking_log_loss", "level_log_loss", "auc")}, axis=1
).round(4)

# COMMAND ----------

# MAGIC %md
# MAGIC ## 4. Which segments lose?
# MAGIC
# MAGIC AUC by segment (`sampling.segment`), and the log loss of the worst segment: a mean can hide that a
# MAGIC small segment is worse off.

# COMMAND ----------

by_segment = test[test["segment"].notna()]
auc = by_segment[by_segment["name"] == "auc"]
auc = auc.pivot_table(index="method", columns="segment", values="value")
auc.join(differences("worst_group_log_loss").add_prefix("worst_log_loss_")).round(4)

# COMMAND ----------

# MAGIC %md
# MAGIC ## 5. Is the importance plausible?
# MAGIC
# MAGIC The report shows importance by label, the features that drive it, and the rows with the highest and
# MAGIC lowest importance. Look at those rows: if a method works, they should make sense to you.

# COMMAND ----------

print(sorted(run.figures))
run.show("by_label")
ends = run.report["extremes"]["self_confidence"]
pd.DataFrame(ends["lowest"]).head()

# COMMAND ----------

# MAGIC %md
# MAGIC ## The report
# MAGIC
# MAGIC All of this, with plots, is one self-contained HTML file. One run judges one log: before you decide, run
# MAGIC more seeds (`seed=1`) or other days, and `jobs/conditions.py`, where the truth is known.

# COMMAND ----------

run.show()
