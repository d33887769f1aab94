# Databricks notebook source
# MAGIC %md
# MAGIC # Weights in a PyTorch ranker and in XGBoost on Spark
# MAGIC
# MAGIC A weight is a column, which any ranker can use. Here two rankers from other libraries use it; both are
# MAGIC judged on unweighted rows. The same file runs as a notebook and as plain Python:
# MAGIC
# MAGIC     python notebooks/weights_in_other_rankers.py

# COMMAND ----------

import os
import sys
from importlib.util import find_spec

import numpy as np
import torch
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import log_loss, roc_auc_score

from reweight.spark_ml import SampleWeighter

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
spark = SparkSession.builder.getOrCreate()
rows = int(os.environ.get("REWEIGHT_NOTEBOOK_ROWS", "20000"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Clicks with some wrong labels
# MAGIC
# MAGIC A third of the rows come from one device, and a quarter of their labels are flipped. A fifth of all
# MAGIC rows is held out as a test set; its labels are right.

# COMMAND ----------

names = ["price", "rating", "age", "device"]
drawn = spark.range(rows).select(
    "id",
    *[F.randn(seed).alias(name) for seed, name in enumerate(names[:3])],
    (F.rand(3) < 0.33).cast("double").alias("device"),
)
odds = 2 * F.col("rating") * F.abs("price") - F.col("price")
test = F.pmod(F.xxhash64("id"), F.lit(5)) == 0
wrong = ~test & (F.col("device") == 1) & (F.rand(7) < 0.25)
log = drawn.withColumn("test", test).withColumn("label", ((odds > 0) != wrong).cast("double"))
log = VectorAssembler(inputCols=names, outputCol="features").transform(log).cache()

# COMMAND ----------

# MAGIC %md
# MAGIC ## The weights
# MAGIC
# MAGIC They are learnt from the training rows alone.

# COMMAND ----------

weighter = SampleWeighter(method="self_confidence", policy={"clip_ratio": 5})
model = weighter.fit(log.where("NOT test"))
train = model.transform(log.where("NOT test")).select("features", "label", "weight", *names).cache()
held_out = log.where("test").select("features", "label", *names).toPandas()
train.groupBy("device").agg(F.avg("weight")).show()

# COMMAND ----------

# MAGIC %md
# MAGIC ## A PyTorch ranker
# MAGIC
# MAGIC The loss of each row is multiplied by its weight. Weights have mean 1, so the learning rate need not
# MAGIC change. This table is small enough for the driver; read a large one in batches, with the weight as one
# MAGIC more column.

# COMMAND ----------


def tensor(frame, columns):
    """Columns of a pandas frame as a float32 tensor."""
    return torch.from_numpy(frame[columns].to_numpy(dtype=np.float32, copy=True))


local = train.drop("features").toPandas()
x, y, weight = tensor(local, names), tensor(local, "label"), tensor(local, "weight")


def predict(weight):
    """p(y = 1) of the held-out rows, from a network trained with these weights."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    loss = torch.nn.BCEWithLogitsLoss(reduction="none")
    for _ in range(20):
        for chosen in torch.randperm(len(x)).split(256):
            optimizer.zero_grad()
            (loss(network(x[chosen]).squeeze(1), y[chosen]) * weight[chosen]).mean().backward()
            optimizer.step()
    with torch.no_grad():
        return network(tensor(held_out, names)).squeeze(1).sigmoid().numpy()


def show_metrics(name, p):
    """Prints the metrics of predictions on the held-out rows, unweighted."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    y = held_out["label"]
    print(f"{name}: log loss {log_loss(y, p):.4f}, AUC {roc_auc_score(y, p):.4f}")


show_metrics("PyTorch, unweighted", predict(torch.ones_like(weight)))
show_metrics("PyTorch, weighted", predict(weight))

# COMMAND ----------

# MAGIC %md
# MAGIC ## XGBoost on Spark
# MAGIC
# MAGIC `weight_col` names the column. XGBoost is not a dependency of this library (`pip install xgboost`); the
# MAGIC ML runtimes of Databricks include it.

# COMMAND ----------

if find_spec("xgboost") is None:
    print("XGBoost is not installed: skipped")
else:
    from xgboost.spark import SparkXGBClassifier

    settings = {
        "features_col": "features",
        "label_col": "label",
        "n_estimators": 50,
        "max_depth": 4,
    }
    for name, column in (("unweighted", {}), ("weighted", {"weight_col": "weight"})):
        boosted = SparkXGBClassifier(**settings, **column).fit(train)
        predictions = boosted.transform(log.where("test")).select("probability").toPandas()
        show_metrics(f"XGBoost, {name}", np.array([p[1] for p in predictions["probability"]]))
