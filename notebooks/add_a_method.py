# Databricks notebook source
# MAGIC %md
# MAGIC # Add a method
# MAGIC
# MAGIC A method is a small class: hyperparameters, what it assumes, and a formula. This notebook writes one,
# MAGIC tries it in memory on rows whose wrong labels are known, and says what is left to do to have it in
# MAGIC every run. The same file runs as a notebook and as plain Python:
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
# MAGIC A `OutOfBagMethod` reads an ensemble that other methods read as well: `statistic` says a number of each
# MAGIC row by each member, and what the members that did not see the row say is averaged. `outputs` computes
# MAGIC each forward once, however many methods ask.

# COMMAND ----------


class Entropy(OutOfBagMethod):
    """Importance: entropy of the prediction, in (0, ln 2].

    Helps:
        Where there are more rows than the ranker needs, and those that it is sure of teach nothing.

    Hurts:
        Where labels are wrong: rows that nobody can be sure of are those that get the weight.

    Refuses:
        What the shared training refuses.
    """

    uses_label: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "rows that nobody is sure of are worth learning"

    method: Literal["entropy"] = "entropy"

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """Of each row under each member, float32 [B, M]."""
        p = outputs.probability(learner)
        return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


# COMMAND ----------

# MAGIC %md
# MAGIC ## Rows of which the truth is known
# MAGIC
# MAGIC Two groups of rows that overlap, one label in ten turned.

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
# Quantiles of the features, for the encoding of the shared training: its three bins.
cuts = np.quantile(features, [0, 1 / 3, 2 / 3, 1], axis=0).T
facts = TrainFacts(
    dim=2,
    rows=rows,
    positives=int(batch.label.sum()),
    quantiles=tuple(map(tuple, cuts.tolist())),
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Trained once, read by both
# MAGIC
# MAGIC `Entropy` declares the same training as `self_confidence`, so that it reads the members that are
# MAGIC there already. In a run this happens by itself.

# COMMAND ----------

stored, curves = fit_in_memory([SelfConfidence()], facts, batch, batch, batch_size=256)
known = stored["self_confidence"].model()
mine = Entropy().build(facts, stored["self_confidence"].epochs).eval()
mine.learners = known.learners
outputs = EnsembleOutputs(batch)
with torch.inference_mode():
    scores = {"self_confidence": known(batch, outputs), "entropy": mine(batch, outputs)}

# COMMAND ----------

# MAGIC %md
# MAGIC ## Does it say what it should?
# MAGIC
# MAGIC Entropy is high between the groups; it does not look at labels, and so cannot find wrong ones. A row
# MAGIC has the same score alone as among others. The AUROC is that of low scores telling turned labels.

# COMMAND ----------

between = np.abs(features.sum(1) - 2) < 1
for name, importance in scores.items():
    inside, outside = importance[between].mean(), importance[~between].mean()
    found = roc_auc_score(flipped, -importance.numpy())
    print(f"{name}: {inside:.3f} between the groups, {outside:.3f} elsewhere; AUROC {found:.3f}")
assert scores["entropy"][between].mean() > scores["entropy"][~between].mean()
with torch.inference_mode():
    alone = mine(batch.rows(torch.arange(1)))
torch.testing.assert_close(alone, scores["entropy"][:1])

# COMMAND ----------

# MAGIC %md
# MAGIC ## In every run
# MAGIC
# MAGIC 1. Put the class into `lib/reweight/importance/entropy.py`, with a docstring that names the source.
# MAGIC 2. Add a line to the union in `lib/reweight/importance/__init__.py`: it is the only list of methods.
# MAGIC 3. `make test ARGS="tests/importance tests/test_docs.py"`: what every method promises is tested on it
# MAGIC    by itself (finite, the same on any partitioning, alone and in a batch, saved and loaded, polarity),
# MAGIC    and its page in `make docs` is there. Add a test against a known answer.
# MAGIC
# MAGIC From then on `importance: [{method: entropy}]` is a line of a config,
# MAGIC `SampleWeighter(method="entropy")` a stage of a pipeline, and the benchmarks judge it.
