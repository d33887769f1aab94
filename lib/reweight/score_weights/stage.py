"""The stage score_weights.

Reads:
    The table ``samples`` and the folders of the models, this run's or those of ``model_run_id``.

Writes:
    The table ``weights``, and ``models/<method>/policy.json``: the statistics that the weight
    policy learnt from the training split, with its settings.

Leaves out:
    Methods that use the label if some samples have none; methods with importance that is not
    finite, or below 0 and not mapped to ranks; weights that are all 0; too few segments to share
    the weight under ``weighting.segment_cap``; and an ESS below ``weighting.ess_refuse``. The
    summary gives the reason of each. With ``strict: true``, or if no other method is left, it is an
    error.

Refuses:
    Models that are missing, that were fitted on features with other statistics than those of the
    samples, or with other settings than ``importance`` has. With ``model_run_id``, settings in
    ``weighting`` other than that run's.
"""

import json
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame

from reweight.config import Run, RunConfig
from reweight.core.digest import digest
from reweight.core.errors import TableError
from reweight.core.files import content_hash
from reweight.core.left_out import (
    Refusals,
    left_out,
    record_left_out,
    refuse_combinations,
    refused_by,
    without,
)
from reweight.core.persisted import persisted
from reweight.core.run import leaves, reads
from reweight.core.tables import SAMPLES, WEIGHTS
from reweight.importance.base import ImportanceMethod
from reweight.score_weights.models import read_models
from reweight.score_weights.policy import PolicyStats, fit_policy
from reweight.score_weights.policy_files import read_policies, write_policies
from reweight.score_weights.rows import weight_rows
from reweight.score_weights.scoring import check_labelled, scored
from reweight.score_weights.training_rows import FrameRows


def models_of_others(run: Run) -> dict[str, str | None]:
    """With ``model_run_id``, the models of that run and what its policy learnt."""
    model_run_id = run.config.model_run_id
    if model_run_id is None:
        return {}
    folder, refused = run.config.model_folder.models, _stored_refusals(run.config)
    names = [method.name for method in run.config.importance]
    models = {f"{name} of {model_run_id}": content_hash(folder.model(name)) for name in names}
    return {**models, f"methods left out of {model_run_id}": digest(json.dumps(refused))}


def policies_fitted(run: Run) -> dict[str, str | None]:
    """What the policy learnt, and the methods that it refused."""
    hashes: dict[str, str | None] = {
        "left out": digest(json.dumps(refused_by(run.folder, "score_weights")))
    }
    if run.config.model_run_id is None:
        for method in run.config.importance:
            hashes[method.name] = content_hash(run.folder.models.policy(method.name))
    return hashes


@reads(models_of_others)
@leaves(policies_fitted)
def score_weights(run: Run) -> dict[str, Any]:
    """Scores every sample with every method and turns importance into weights."""
    samples, config = run.store.read(SAMPLES), run.config
    refusals = Refusals(strict=config.strict)
    methods = without(config.importance, left_out(run.folder, before="score_weights"))
    count = check_labelled(methods, samples, refusals)
    refuse_combinations(methods, refusals)
    methods = refusals.remaining(methods)
    models = read_models(config.model_folder.models, methods, run.folder.features)
    columns = ("sample_id", "split", *config.weighting.reads, *config.sampling.counted)
    # Persisted, since Spark would run Python again for every use.
    with persisted(scored(samples, models, columns)) as rows:
        stats = policies(config, rows, methods, refusals)
        in_sample = config.model_run_id is None
        weights = weight_rows(rows, config.weighting, stats, in_sample=in_sample)
        written = run.store.write(WEIGHTS, weights)
    if written != count * len(stats):
        raise TableError(
            "the numbers of weights and samples do not match",
            expected=f"{count} samples x {len(stats)} methods = {count * len(stats)} rows",
            got=f"{written}",
            fix="run the stage again: the samples may have been rewritten meanwhile",
        )
    reasons = _stored_refusals(config) | refusals.reasons()
    record_left_out(run.folder, "score_weights", reasons)
    ess = {method: f"{s.ess_share:.1%}" for method, s in stats.items()}
    summary = {"rows": written, "samples": count, "ESS": ess}
    return summary | ({"left out": reasons} if reasons else {})


def policies(
    config: RunConfig,
    rows: DataFrame,
    methods: Sequence[ImportanceMethod] | None = None,
    refusals: Refusals | None = None,
) -> dict[str, PolicyStats]:
    """The policy's statistics, learnt from the training split or stored with the models.

    Args:
        config: of the run.
        rows: with the importance of the methods.
        methods: the methods; all of the config by default.
        refusals: receives the methods whose weights are refused; by default they are errors.

    Returns:
        Method name -> its statistics.
    """
    folder, policy = config.model_folder.models, config.weighting
    methods, refusals = methods or config.importance, refusals or Refusals()
    if config.model_run_id is not None:
        return read_policies(folder, policy, without(methods, _stored_refusals(config)))
    stats = fit_policy(FrameRows(rows.where("split = 'train'")), policy, methods, refusals)
    refusals.remaining(methods)
    write_policies(folder, policy, stats)
    return stats


def _stored_refusals(config: RunConfig) -> dict[str, str]:
    """The methods whose weights the run of the models left out, each with the reason."""
    if config.model_run_id is None:
        return {}
    return refused_by(config.model_folder, "score_weights")
