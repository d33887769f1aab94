"""The stage train_ranker.

Reads:
    The tables ``samples`` and ``weights``.

Writes:
    The table ``predictions`` for validation and test rows, and ``rankers/<method>``: the Spark ML
    model and the shift of its intercept.

Leaves out:
    Methods whose weights are null, negative or not finite, whose soft labels are outside [0, 1],
    whose weights leave a class without weight, or have an ESS below ``weighting.ess_refuse``. The
    summary gives the reason of each. With ``strict: true``, or if no other method is left, it is an
    error.

Refuses:
    Tables without rows of this run.
"""

from typing import Any

from reweight.build_samples.feature_stats import read_stats
from reweight.config import Run
from reweight.core.files import write_json
from reweight.core.left_out import Refusals, left_out, record_left_out, without
from reweight.core.persisted import persisted
from reweight.core.tables import PREDICTIONS, SAMPLES, WEIGHTS
from reweight.score_weights.policy_files import read_policies
from reweight.score_weights.rows import wide_weights
from reweight.train_ranker.fit import (
    fit_rankers,
    iterations,
    predictions,
    weight_columns,
    weighted_train,
)
from reweight.train_ranker.rankers.logistic_regression import doubled


def train_ranker(run: Run) -> dict[str, Any]:
    """Trains a weighted logistic regression per method and predicts validation and test rows."""
    samples, config = run.store.read(SAMPLES), run.config
    sizes = read_stats(run.folder.features).sizes
    refusals = Refusals(strict=config.strict)
    methods = without(config.importance, left_out(run.folder, before="train_ranker"))
    policies = read_policies(config.model_folder.models, config.weighting, methods)
    columns = weight_columns(methods, policies)
    names = [column.name for column in columns]
    soft = [column.name for column in columns if column.soft]
    wide = wide_weights(run.store.read(WEIGHTS), names, soft)
    train = weighted_train(samples, wide, sizes, names, soft)
    # On disk, since Spark ML holds its own blocks in memory while it iterates.
    with persisted(train) as train:
        floor = config.weighting.ess_refuse
        rankers = fit_rankers(train, columns, config.ranking, floor=floor, refusals=refusals)
        expanded = {name: doubled(train, name).count() for name in soft if name in rankers}
    held_out = samples.where("split in ('validation', 'test')")
    rows = run.store.write(PREDICTIONS, predictions(held_out, rankers, sizes))
    for name, ranker in rankers.items():
        folder = run.folder.ranker(name)
        ranker.model.write().overwrite().save(str(folder.absolute()))
        write_json(folder / "shift.json", ranker.shift)
    record_left_out(run.folder, "train_ranker", refusals.reasons())
    summary = refusals.summary() | {
        "predictions": rows,
        "iterations": {n: iterations(r, config.ranking) for n, r in rankers.items()},
    }
    return summary | ({"rows of soft labels": expanded} if expanded else {})
