"""Wrong labels found at size: on two ranks, against the same recipe on a thousand rows."""

import math
import resource
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.stats import t
from sklearn.metrics import roc_auc_score
from tests.perf.measuring import Figure, session
from tests.perf.synthetic import open_run, samples

from reweight.config import Run
from reweight.core.tables import SAMPLES
from reweight.fit_importance.fit import fit_methods
from reweight.fit_importance.job import FitJob
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.batch import Batch
from reweight.importance.training import TrainFacts
from reweight.score_weights.scoring import scored
from reweight.training.in_memory import fit_in_memory

DIM, FLIPS, SMALL, DRAWS = 20, 0.1, 1_000, 10
METHOD = "{method: self_confidence, training: {members: 16, epochs: %d}}"
# The stop rule takes the epochs around the best of these: many rows need few passes.
EPOCHS = {"small": 40, "large": 4}


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """AUROC of 10 % flipped labels, seconds and memory of fitting and scoring by size."""
    root = work / "detection"
    shutil.rmtree(root, ignore_errors=True)
    found: dict[int, dict[str, float]] = {}
    with session(work) as spark:
        for size in sizes:
            found[size] = _at(spark, root, size)
            print(f"  {size} samples: {found[size]}", flush=True)
        # Afterwards: its rows lie in the driver, whose peak above is that of the sizes alone.
        low, few = _small(spark, root)
    first, last = found[sizes[0]], found[sizes[-1]]
    span = math.log(sizes[-1] / sizes[0]) if len(sizes) > 1 else 1.0
    detail = {"rows": {str(size): own for size, own in found.items()}, f"at {SMALL} rows": few}
    return [
        Figure(
            f"AUROC of wrong labels at {sizes[-1]} samples less the lower end at {SMALL}",
            last["auroc"] - low,
            ">= 0",
            detail,
        ),
        Figure(
            "growth of finding wrong labels (exponent)",
            math.log(last["seconds"] / first["seconds"]) / span,
            "<= 1.05",
        ),
        Figure(
            f"peak memory of the driver (Python), {sizes[-1]} / {sizes[0]}",
            last["driver MB"] / first["driver MB"],
            "<= 1.1",
        ),
    ]


def _wrong() -> Column:
    """Which labels are flipped: a hash of the id."""
    return F.pmod(F.xxhash64("sample_id", F.lit("flip")), F.lit(1000)) < int(1000 * FLIPS)


def _rows(spark: SparkSession, size: int) -> DataFrame:
    """``size`` samples and as many in validation as a run has; a tenth of the labels flipped."""
    # What is clearly positive or negative: the noise of a label is planted, and not in it.
    z = F.aggregate(F.slice("features", 1, 6), F.lit(0.0), lambda a, x: a + (x - 1) ** 2)
    label = (z > 2.2).cast("float")
    rows = samples(spark, size, DIM)
    return rows.withColumn("label", F.when(_wrong(), 1 - label).otherwise(label))


def _run(spark: SparkSession, root: Path, size: int, epochs: int) -> Run:
    run = open_run(
        spark,
        root,
        f"n{size}",
        f"importance=[{METHOD % epochs}]",
        "fitting.ranks=2",
        "fitting.batch_size=4096",
        dim=DIM,
    )
    columns = SAMPLES.columns()
    assert columns is not None
    run.store.write(SAMPLES, _rows(spark, size).select(*columns.names[1:]))
    return run


def _at(spark: SparkSession, root: Path, size: int) -> dict[str, float]:
    run = _run(spark, root, size, EPOCHS["large"])
    rows = run.store.read(SAMPLES)
    methods = tuple(m for m in run.config.importance if m.learns())
    begin = time.monotonic()
    fit_methods(FitJob.of(run), rows, methods, run.folder.models)
    models = {m.name: ModelArtifact.read(run.folder.models.model(m.name)) for m in methods}
    train = scored(rows.where("split = 'train'"), models, ("sample_id",))
    judged = train.select(F.col(methods[0].name).cast("double").alias("s"), _wrong().alias("w"))
    evaluator = BinaryClassificationEvaluator(rawPredictionCol="s", labelCol="w", numBins=4000)
    auroc = 1 - evaluator.evaluate(judged.withColumn("w", F.col("w").cast("double")))
    return {
        "auroc": round(auroc, 4),
        "seconds": round(time.monotonic() - begin, 1),
        "driver MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _small(spark: SparkSession, root: Path) -> tuple[float, dict[str, float]]:
    """Lower end of the 95 % interval of the AUROC at a thousand rows, and what it is of."""
    frame = _rows(spark, 2 * SMALL * DRAWS).withColumn("wrong", _wrong()).toPandas()
    run = _run(spark, root, SMALL, EPOCHS["small"])
    method = next(m for m in run.config.importance if m.learns())
    aurocs = []
    for draw in range(DRAWS):
        part = frame.iloc[2 * SMALL * draw : 2 * SMALL * (draw + 1)]
        train, validation = _batch(part.iloc[:SMALL]), _batch(part.iloc[SMALL:])
        cuts = np.quantile(train.features.numpy(), np.linspace(0, 1, 4), axis=0).T
        facts = TrainFacts(
            dim=DIM,
            rows=SMALL,
            positives=int(train.label.sum()),
            seed=draw,
            quantiles=tuple(map(tuple, cuts.tolist())),
        )
        stored, _ = fit_in_memory([method], facts, train, validation, batch_size=128)
        score = Scorer(stored)(train)[method.name].numpy()
        aurocs.append(float(roc_auc_score(part["wrong"].iloc[:SMALL], -score)))
    mean, error = statistics.mean(aurocs), statistics.stdev(aurocs) / math.sqrt(DRAWS)
    low = mean - float(t.ppf(0.975, DRAWS - 1)) * error
    return low, {"mean": round(mean, 4), "standard error": round(error, 4)}


def _batch(part: Any) -> Batch:
    def numbers(name: str, kind: type) -> torch.Tensor:
        return torch.from_numpy(np.array(part[name].tolist(), dtype=kind).reshape(len(part), -1))

    return Batch(
        numbers("sample_id", np.int64)[:, 0],
        numbers("features", np.float32),
        torch.empty((len(part), 0), dtype=torch.int64),
        numbers("label", np.float32)[:, 0],
    )
