"""The stage score_weights.

Reads:
    The table ``samples`` and the folders of the models, this run's or those of ``model_run_id``.

Writes:
    The table ``weights``, and ``models/<method>/policy.json``: the numbers of the weight policy,
    learnt from the training split, and the section ``weighting`` that they are of.

Refuses:
    Models that are not there, or that were fitted on features of other statistics than the samples
    have; samples without a label where a method looks at it, importance that is not finite,
    importance below 0 that is not mapped to ranks, weights that are all 0, segments too few to
    share the weight under ``weighting.segment_cap``, and an ESS below ``weighting.ess_refuse``.
    With ``model_run_id`` a section ``weighting`` other than that run's.
"""

from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.config import Run, RunConfig
from reweight.core.errors import TableError, WeightError
from reweight.core.tables import SAMPLES, WEIGHTS
from reweight.score_weights.models import read_models, read_policies, write_policies
from reweight.score_weights.policy import PolicyStats, fit_policy
from reweight.score_weights.rows import weight_rows
from reweight.score_weights.scoring import scored
from reweight.score_weights.training_rows import FrameRows


def score_weights(run: Run) -> dict[str, Any]:
    """Scores every sample by every method and turns importance into weights."""
    samples, config = run.store.read(SAMPLES), run.config
    models = read_models(config.model_folder.models, config.importance, run.folder.features)
    count = _count(config, samples)
    kept = ("sample_id", "split", *config.weighting.reads)
    # Written down once: Spark would run Python again for every use.
    rows = scored(samples, models, kept).persist(StorageLevel.DISK_ONLY)
    try:
        stats = _policies(config, rows)
        in_sample = config.model_run_id is None
        weights = weight_rows(rows, config.weighting, stats, in_sample=in_sample)
        written = run.store.write(WEIGHTS, weights)
    finally:
        rows.unpersist()
    if written != count * len(models):
        raise TableError(
            "weights and samples do not add up",
            expected=f"{count} samples x {len(models)} methods = {count * len(models)} rows",
            got=f"{written}",
            fix="samples may have been rewritten meanwhile; run the stage again",
        )
    ess = {method: f"{s.ess_share:.1%}" for method, s in stats.items()}
    return {"rows": written, "samples": count, "ESS": ess}


def _policies(config: RunConfig, rows: DataFrame) -> dict[str, PolicyStats]:
    """The policy's numbers: learnt from the training split, or those stored with the models."""
    folder, policy, methods = config.model_folder.models, config.weighting, config.importance
    if config.model_run_id is not None:
        return read_policies(folder, policy, methods)
    stats = fit_policy(FrameRows(rows.where("split = 'train'")), policy, methods)
    write_policies(folder, policy, stats)
    return stats


def _count(config: RunConfig, samples: DataFrame) -> int:
    """Number of samples; each must have a label if a method looks at it."""
    counts: Any = samples.agg(F.count("*"), F.count("label")).first()
    using = [m.name for m in config.importance if m.uses_label]
    if using and counts[0] != counts[1]:
        raise WeightError(
            f"the method(s) {using} score a row by its label, and some rows have none",
            expected="a label for every sample",
            got=f"{counts[0] - counts[1]} of {counts[0]} rows with null",
            fix="leave these methods out when scoring rows that are not labelled yet",
        )
    return int(counts[0])
