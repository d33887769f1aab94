"""The stage tune.

Reads:
    The table ``samples``.

Writes:
    ``tuning.json``: what came of each candidate, the best one, and by how much a factor of 10 in k
    moves the ranker's coefficients where f is the same.

Refuses:
    A ``tuning.method`` that is not the name of an ``importance_mlp`` of the run.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight import metrics, tuning
from reweight.errors import ConfigError
from reweight.importance.importance_mlp import ImportanceMlp
from reweight.importance.stored import StoredModel
from reweight.ranking import fit_ranker, with_probabilities, with_vector
from reweight.runs import Run, write_json
from reweight.scoring import scored
from reweight.stages.build_samples import read_stats
from reweight.stages.fit_importance import drop_snapshots, fit_methods
from reweight.stages.score_weights import policy_reads
from reweight.stages.train_ranker import fit_rankers, weighted_train
from reweight.tables import SAMPLES
from reweight.tuning import Trial
from reweight.weighting import PolicyStats, fit_policy, weight

TRIALS = "tuning.json"


def tune(run: Run) -> dict[str, Any]:
    """Searches lambda or k of `importance_mlp` by the ranker's validation log loss.

    The network is trained anew for every candidate. `tuning.search: legacy` is the published loop:
    k x 0.9 while macro precision is below the threshold, else k x 1.1.
    """
    section, method = run.config.tuning, _method(run)
    samples = run.store.read(SAMPLES)
    if section.search == "legacy":
        candidates: tuple[ImportanceMlp, ...] = (_with(method),)
        trials = tuning.legacy_loop(
            method.k, section, lambda k: _try(run, samples, (_with(method, k=k),))[0]
        )
    else:
        key = {"lambda": "lambda_", "k": "k"}[section.search]
        # All candidates learn from the same pass over the rows.
        candidates = tuple(_with(method, **{key: v}) for v in section.values)
        trials = _try(run, samples, candidates)
    for trial in trials:
        run.say(str(trial))
    chosen = tuning.best(trials)
    effect = _effect_of_scale(run, samples, candidates)
    found = {
        "method": method.name,
        "search": section.search,
        "trials": [trial.model_dump() for trial in trials],
        "best": chosen.model_dump(),
        "coefficients moved by 10 k at fixed f": effect,
    }
    write_json(run.folder / TRIALS, found)
    drop_snapshots(run)
    return {
        "best": {"k": chosen.k, "lambda": chosen.lambda_},
        "validation log loss": round(chosen.log_loss, 5),
        "coefficients moved by 10 k at fixed f": f"{effect:.1e}",
        "trials": str(run.folder / TRIALS),
    }


def _method(run: Run) -> ImportanceMlp:
    name = run.config.tuning.method
    for method in run.config.importance:
        if method.name == name and isinstance(method, ImportanceMlp):
            return method
    raise ConfigError(
        f"tuning.method '{name}' cannot be tuned",
        expected="the name of an importance_mlp of this run",
        came=str([m.name for m in run.config.importance]),
        do="set tuning.method to one of them, or add it to `importance`",
    )


def _with(method: ImportanceMlp, **changes: float) -> ImportanceMlp:
    """The method with other hyperparameters, and a name that tells them."""
    changed = method.model_copy(update=changes)
    told = f"k{changed.k:g}_lambda{changed.lambda_:g}"
    return changed.model_copy(update={"name": "".join(c if c.isalnum() else "_" for c in told)})


def _try(run: Run, samples: DataFrame, methods: tuple[ImportanceMlp, ...]) -> list[Trial]:
    """Trains, weighs, ranks and judges on validation, all candidates side by side."""
    section, names = run.config.weighting, [m.name for m in methods]
    scores = _scored(run, samples, methods).persist(StorageLevel.DISK_ONLY)
    # A candidate with a tiny ESS is a result of the search and no reason to stop it.
    policy = section.model_copy(update={"ess_refuse": 0.0, "ess_warn": 0.0})
    stats = fit_policy(scores, policy, {m.name: m.polarity for m in methods})
    wide = scores.select("sample_id", *[weight(F.col(n), policy, stats[n]).alias(n) for n in names])
    train = weighted_train(samples, wide, _cardinalities(run), names)
    train = train.persist(StorageLevel.DISK_ONLY)
    try:
        rankers = fit_rankers(run, train, methods, stats, floor=0.0)
    finally:
        train.unpersist()
        scores.unpersist()
    validation = with_vector(samples.where("split = 'validation'"), _cardinalities(run))
    judged = _judged(validation.transform(with_probabilities, rankers), names)
    return [_trial(m, stats[m.name], judged[m.name]) for m in methods]


def _scored(run: Run, samples: DataFrame, methods: tuple[ImportanceMlp, ...]) -> DataFrame:
    """Training rows with a column of importance per candidate."""
    folder = run.folder / "tuning" / methods[0].name
    fit_methods(run, samples, methods, folder)
    models = {m.name: StoredModel.read(folder / m.name) for m in methods}
    train = samples.where("split = 'train'")
    return scored(train, models, ("sample_id", *policy_reads(run)))


def _judged(rows: DataFrame, names: list[str]) -> dict[str, Mapping[str, float]]:
    """Sums over the validation rows, one pass for all candidates."""
    positive = F.col("label") == 1
    columns: dict[str, Column] = {}
    for n in names:
        p = F.greatest(F.lit(1e-15), F.least(F.lit(1 - 1e-12), F.col(n)))
        called = F.col(n) >= 0.5
        columns |= {
            f"{n}.loss": -F.avg(F.log(F.when(positive, p).otherwise(1 - p))),
            f"{n}.tp": F.count(F.when(called & positive, 1)),
            f"{n}.fp": F.count(F.when(called & ~positive, 1)),
            f"{n}.fn": F.count(F.when(~called & positive, 1)),
            f"{n}.tn": F.count(F.when(~called & ~positive, 1)),
        }
    found: Any = rows.agg(*[c.alias(k) for k, c in columns.items()]).first()
    kinds = ("loss", "tp", "fp", "fn", "tn")
    return {n: {kind: float(found[f"{n}.{kind}"]) for kind in kinds} for n in names}


def _trial(method: ImportanceMlp, stats: PolicyStats, sums: Mapping[str, float]) -> Trial:
    table = [np.asarray(sums[kind]) for kind in ("tp", "fp", "fn", "tn")]
    return Trial(
        k=method.k,
        lambda_=method.lambda_,
        log_loss=sums["loss"],
        macro_precision=float(metrics.macro_precision(*table)),
        ess_share=stats.ess_share,
    )


def _effect_of_scale(run: Run, samples: DataFrame, candidates: tuple[ImportanceMlp, ...]) -> float:
    """Largest change of a coefficient of the ranker when k is ten times as large and f the same.

    Weights are w = k f; at the same regParam Spark divides the loss by their sum. Looked at after
    20 steps: more of them only amplify rounding in directions that the data leave open.
    """
    scores, f = _scored(run, samples, candidates), F.col(candidates[0].name)
    wide = scores.select("sample_id", f.alias("k"), (10 * f).alias("ten_k"))
    train = weighted_train(samples, wide, _cardinalities(run), ["k", "ten_k"])
    train = train.persist(StorageLevel.DISK_ONLY)
    try:
        total = float(train.agg(F.sum("k")).first()[0])  # type: ignore[index]
        ranking = run.config.ranking.model_copy(update={"max_iter": 20})
        one, ten = (fit_ranker(train, name, total, ranking) for name in ("k", "ten_k"))
    finally:
        train.unpersist()
    moved = one.model.coefficients.toArray() - ten.model.coefficients.toArray()
    return float(np.abs(moved).max())


def _cardinalities(run: Run) -> tuple[int, ...]:
    return tuple(read_stats(run).cardinalities.values())
