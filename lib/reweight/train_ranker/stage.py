"""The stage train_ranker.

Reads:
    The tables ``samples`` and ``weights``.

Writes:
    The table ``predictions`` for validation and test rows, and ``rankers/<ranker>/<method>``: the
    model and what recalibration adds to its log odds.

Leaves out:
    Methods whose weights are null, negative or not finite, whose soft labels are outside [0, 1],
    whose weights leave a class without weight, or have an ESS below ``weighting.ess_refuse``; and
    single methods of a ranker that cannot take their weights (``<ranker>/<method>``). The summary
    gives the reason of each. With ``strict: true``, or if no other method is left, it is an error.

Refuses:
    Tables without rows of this run; rankers that read what the samples do not have, and those whose
    optional package is missing. These are refused before training.
"""

import json
from typing import Any

from reweight.build_samples.feature_stats import read_stats
from reweight.config import Run, RunConfig
from reweight.core.digest import digest
from reweight.core.files import content_hash
from reweight.core.kept import kept_types
from reweight.core.left_out import Refusals, left_out, record_left_out, refused_by, without
from reweight.core.persisted import persisted
from reweight.core.run import leaves
from reweight.core.tables import PREDICTIONS, SAMPLES, WEIGHTS
from reweight.score_weights.policy_files import read_policies
from reweight.score_weights.rows import wide_weights
from reweight.train_ranker.fit import (
    check_rankers,
    columns_of,
    fit_rankers,
    held_out_facts,
    job_of,
    predictions,
    told,
    training_columns_of,
    weight_columns,
)
from reweight.train_ranker.rows import doubled, weighted_train, with_columns


def rankers_fitted(run: Run) -> dict[str, str | None]:
    """The rankers, and the methods that were refused."""
    refused = refused_by(run.folder, "train_ranker")
    hashes: dict[str, str | None] = {"left out": digest(json.dumps(refused))}
    for ranker in run.config.rankers:
        for method in run.config.importance:
            folder = run.folder.ranker(ranker.name, method.name)
            hashes[f"{ranker.name}/{method.name}"] = content_hash(folder)
    return hashes


@leaves(rankers_fitted)
def train_ranker(run: Run) -> dict[str, Any]:
    """Trains each ranker on the weights of each method, and predicts validation and test rows."""
    config, rankers = run.config, run.config.rankers
    check_config(config)
    samples, stats = run.store.read(SAMPLES), read_stats(run.folder.features)
    sizes, reads = stats.sizes, columns_of(rankers)
    refusals = Refusals(strict=config.strict)
    methods = without(config.importance, left_out(run.folder, before="train_ranker"))
    policies = read_policies(config.model_folder.models, config.weighting, methods)
    columns = weight_columns(methods, policies)
    names = [column.name for column in columns]
    soft = [column.name for column in columns if column.soft]
    wide = wide_weights(run.store.read(WEIGHTS), names, soft)
    kept = kept_types(run.folder)
    columns_read, rotation = training_columns_of(
        rankers, samples.where("split = 'train'"), len(stats.names)
    )
    train = weighted_train(
        samples, wide, sizes, names, soft, columns=columns_read, kept=kept, rotation=rotation
    )
    held_out = samples.where("split in ('validation', 'test')")
    held_out = with_columns(held_out, reads, sizes, kept)
    job = job_of(
        held_out, stats, reads, seed=config.seed, fitting=config.fitting, rotation=rotation
    )
    # On disk, since Spark ML holds its own blocks in memory while it iterates.
    with persisted(train) as train:
        fits = fit_rankers(
            train,
            columns,
            rankers,
            floor=config.weighting.ess_refuse,
            refusals=refusals,
            job=job,
            folder=run.folder,
        )
        fitted = {fit.method for fit in fits}
        expanded = {name: doubled(train, name, ()).count() for name in soft if name in fitted}
    rows = run.store.write(PREDICTIONS, predictions(held_out, fits))
    for fit in fits:
        fit.fitted.save(run.folder.ranker(fit.ranker, fit.method))
    record_left_out(run.folder, "train_ranker", refusals.reasons())
    summary = refusals.summary() | {"predictions": rows, "fits": told(fits)}
    if facts := held_out_facts(fits, held_out):
        summary |= {"held-out rows": facts}
    return summary | ({"rows of soft labels": expanded} if expanded else {})


def check_config(config: RunConfig) -> None:
    """Refuses rankers that cannot rank this run, as far as the config shows it."""
    methods = [method.name for method in config.importance]
    check_rankers(config.rankers, methods, config.features, config.sampling)
