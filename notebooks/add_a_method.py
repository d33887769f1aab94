# Databricks notebook source
# MAGIC %md
# MAGIC # Add a method
# MAGIC
# MAGIC A method is a small class: hyperparameters, an assumption and a formula. This notebook writes one, tries
# MAGIC it in memory on rows whose wrong labels are known, and lists the steps that make it available in every
# MAGIC run. The same file runs as a notebook and as plain Python:
# MAGIC
# MAGIC     python notebooks/add_a_method.py

# COMMAND ----------

import os
from typing import ClassVar, Literal

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from reweight.importance.base import Polarity
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Learner, TrainFacts
from reweight.training.in_memory import fit_in_memory

rows = int(os.environ.get("REWEIGHT_NOTEBOOK_ROWS", "4000"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## The class
# MAGIC
# MAGIC An `OutOfBagMethod` shares a trained ensemble with other methods. `statistic` returns a number for each
# MAGIC row and member; the importance of a row is the mean over the members that did not see it. `outputs`
# MAGIC caches forward passes, so each is computed only once, however many methods use it.

# COMMAND ----------


class Entropy(OutOfBagMethod):
    """Importance: entropy of the prediction, in (0, ln 2].

    Helps:
        Where there are more rows than the ranker needs, and the sure ones teach nothing.

    Hurts:
        Where labels are wrong: rows that cannot be predicted get the weight.

    Refuses:
        What the shared training refuses.
    """

    uses_label: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "uncertain rows are worth learning"

    method: Literal["entropy"] = "entropy"

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """The entropy of each row under each member, float32 [B, M]."""
        p = outputs.probability(learner)
        return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


# COMMAND ----------

# MAGIC %md
# MAGIC ## Rows with known truth
# MAGIC
# MAGIC Two overlapping groups of rows, with one label in ten flipped.

# COMMAND ----------

draw = np.random.default_rng(0)
truth, flipped = draw.random(rows) < 0.5, draw.random(rows) < 0.1
features = draw.normal(size=(rows, 2)) + 2.0 * truth[:, None]
batch = Batch(
    sample_id=torch.arange(rows),
    features=torch.tensor(features, dtype=torch.float32),
    ids=torch.empty((rows, 0), dtype=torch.int64),
    label=torch.tensor(truth ^ flipped, dtype=torch.float32),
)
# The encoding of the shared training has three bins per feature, cut at these quantiles.
cuts = np.quantile(features, [0, 1 / 3, 2 / 3, 1], axis=0).T
facts = TrainFacts(
    dim=2,
    rows=rows,
    positives=int(batch.label.sum()),
    quantiles=tuple(map(tuple, cuts.tolist())),
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Trained once, used by both
# MAGIC
# MAGIC `Entropy` declares the same training as `self_confidence`, so it can use the members that are already
# MAGIC trained. In a run this happens automatically.

# COMMAND ----------

artifacts, curves = fit_in_memory([SelfConfidence()], facts, batch, batch, batch_size=256)
artifact = artifacts["self_confidence"]
self_confidence = artifact.model()
entropy = Entropy().build(facts, artifact.epochs).eval()
entropy.learners = self_confidence.learners
outputs = EnsembleOutputs(batch)
with torch.inference_mode():
    scores = {
        "self_confidence": self_confidence(batch, outputs),
        "entropy": entropy(batch, outputs),
    }

# COMMAND ----------

# MAGIC %md
# MAGIC ## Does it do what it should?
# MAGIC
# MAGIC Entropy is high between the groups. It does not use labels, so it cannot find wrong ones: the AUROC
# MAGIC measures how well low scores detect flipped labels. A row's score does not depend on the other rows of
# MAGIC the batch.

# COMMAND ----------

between = np.abs(features.sum(1) - 2) < 1
for name, importance in scores.items():
    inside, outside = importance[between].mean(), importance[~between].mean()
    auroc = roc_auc_score(flipped, -importance.numpy())
    print(f"{name}: {inside:.3f} between the groups, {outside:.3f} elsewhere; AUROC {auroc:.3f}")
assert scores["entropy"][between].mean() > scores["entropy"][~between].mean()
with torch.inference_mode():
    alone = entropy(batch.rows(torch.arange(1)))
torch.testing.assert_close(alone, scores["entropy"][:1])

# COMMAND ----------

# MAGIC %md
# MAGIC ## In every run
# MAGIC
# MAGIC 1. Put the class into `lib/reweight/importance/methods/entropy.py`. The module docstring gives the formula
# MAGIC    and its source.
# MAGIC 2. Add a line to the union in `lib/reweight/importance/methods/__init__.py`, the only list of methods.
# MAGIC 3. Run `make test ARGS="tests/importance tests/test_docs.py"`. It tests automatically what every method
# MAGIC    guarantees: importance is finite, does not depend on partitioning or on the batch, survives saving and
# MAGIC    loading, and has the declared polarity. Add a test against a known answer in
# MAGIC    `tests/importance/methods`. `make docs` generates its page.
# MAGIC
# MAGIC From then on you can write `importance: [{method: entropy}]` in a config and
# MAGIC `SampleWeighter(method="entropy")` in a Spark ML pipeline, and the benchmarks include it.
