"""The stage score_weights.

Reads:
    The table ``samples`` and the folders of the models, this run's or those of ``model_run_id``.

Writes:
    The table ``weights``, and ``models/<method>/policy.json``: the statistics that the weight
    policy learnt from the training split, with its settings.

Refuses:
    Models that are missing, or that were fitted on features with other statistics than those of the
    samples; samples without a label if a method uses it; importance that is not finite; importance
    below 0 that is not mapped to ranks; weights that are all 0; too few segments to share the
    weight under ``weighting.segment_cap``; and an ESS below ``weighting.ess_refuse``. With
    ``model_run_id``, settings in ``weighting`` other than that run's.
"""

from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.config import Run, RunConfig
from reweight.core.errors import TableError, WeightError
from reweight.core.tables import SAMPLES, WEIGHTS
from reweight.score_weights.models import read_models
from reweight.score_weights.policy import PolicyStats, fit_policy
from reweight.score_weights.policy_files import read_policies, write_policies
from reweight.score_weights.rows import weight_rows
from reweight.score_weights.scoring import scored
from reweight.score_weights.training_rows import FrameRows


def score_weights(run: Run) -> dict[str, Any]:
    """Scores every sample with every method and turns importance into weights."""
    samples, config = run.store.read(SAMPLES), run.config
    models = read_models(config.model_folder.models, config.importance, run.folder.features)
    count = _count(config, samples)
    columns = ("sample_id", "split", *config.weighting.reads)
    # Persisted, since Spark would run Python again for every use.
    rows = scored(samples, models, columns).persist(StorageLevel.DISK_ONLY)
    try:
        stats = policies(config, rows)
        in_sample = config.model_run_id is None
        weights = weight_rows(rows, config.weighting, stats, in_sample=in_sample)
        written = run.store.write(WEIGHTS, weights)
    finally:
        rows.unpersist()
    if written != count * len(models):
        raise TableError(
            "the numbers of weights and samples do not match",
            expected=f"{count} samples x {len(models)} methods = {count * len(models)} rows",
            got=f"{written}",
            fix="run the stage again: the samples may have been rewritten meanwhile",
        )
    ess = {method: f"{s.ess_share:.1%}" for method, s in stats.items()}
    return {"rows": written, "samples": count, "ESS": ess}


def policies(config: RunConfig, rows: DataFrame) -> dict[str, PolicyStats]:
    """The policy's statistics, learnt from the training split or stored with the models."""
    folder, policy, methods = config.model_folder.models, config.weighting, config.importance
    if config.model_run_id is not None:
        return read_policies(folder, policy, methods)
    stats = fit_policy(FrameRows(rows.where("split = 'train'")), policy, methods)
    write_policies(folder, policy, stats)
    return stats


def _count(config: RunConfig, samples: DataFrame) -> int:
    """Number of samples; all must have a label if a method uses it."""
    counts: Any = samples.agg(F.count("*"), F.count("label")).first()
    using = [m.name for m in config.importance if m.uses_label]
    if using and counts[0] != counts[1]:
        raise WeightError(
            f"the method(s) {using} use the label of a row, and some rows have none",
            expected="a label for every sample",
            got=f"null in {counts[0] - counts[1]} of {counts[0]} rows",
            fix="leave these methods out when scoring rows that are not labelled yet",
        )
    return int(counts[0])
