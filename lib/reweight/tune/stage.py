"""The stage tune.

Reads:
    The table ``samples``; for a judge of simulated logs also ``truth``.

Writes:
    ``tuning.json``: the result of each candidate by the first of ``evaluation.judges`` that can
    tell before a position model of this run is fitted, the best one, and by how much a factor of 10
    in k moves the ranker's coefficients at the same f.

Refuses:
    A ``tuning.method`` that is not the name of an ``importance_mlp`` of the run.
"""

import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import read_stats
from reweight.config import Run
from reweight.core.arithmetic import COLUMNS
from reweight.core.columns import design_weight
from reweight.core.errors import ConfigError
from reweight.core.files import write_json
from reweight.core.kept import kept_types
from reweight.core.persisted import persisted
from reweight.core.tables import SAMPLES
from reweight.evaluate import judging, metrics
from reweight.evaluate.judges import RECORDED, Judge, Known, all_judges, recorded_alone
from reweight.evaluate.reduction import recorded_masses
from reweight.evaluate.terms import loss_terms
from reweight.fit_importance.fit import fit_methods
from reweight.fit_importance.job import FitJob
from reweight.importance.artifact import ModelArtifact
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.score_weights.policy import PolicyStats, fit_policy, weight
from reweight.score_weights.scoring import scored
from reweight.score_weights.training_rows import FrameRows
from reweight.train_ranker.fit import fit_rankers, job_of, weight_columns
from reweight.train_ranker.rankers.base import with_probabilities
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression
from reweight.train_ranker.rows import weighted_train, with_columns
from reweight.tune import search
from reweight.tune.search import Trial


def tune(run: Run) -> dict[str, Any]:
    """Searches lambda or k of `importance_mlp` by the ranker's log loss on validation rows.

    The network is retrained for every candidate. `tuning.search: legacy` is the published loop:
    k x 0.9 while macro precision is below the threshold, else k x 1.1.
    """
    section, method = run.config.tuning, _method(run)
    judge = _judge(run)
    run.say(f"judge: {judge[0]}")
    samples, candidates = run.store.read(SAMPLES), section.candidates(method)
    if section.search == "legacy":
        trials = search.legacy_loop(
            method.k,
            section,
            lambda k: _trials(run, samples, (search.candidate(method, k=k),), judge)[0],
        )
    else:
        # All candidates train in the same passes over the rows.
        trials = _trials(run, samples, candidates, judge)
    for trial in trials:
        run.say(str(trial))
    chosen = search.best(trials)
    effect = _effect_of_scale(run, samples, candidates)
    result = {
        "method": method.name,
        "search": section.search,
        "judge": judge[0],
        "trials": [trial.model_dump() for trial in trials],
        "best": chosen.model_dump(),
        "coefficients moved by 10 k at fixed f": effect,
    }
    write_json(run.folder.tuning, result)
    shutil.rmtree(run.folder.snapshot, ignore_errors=True)
    return {
        "best": {"k": chosen.k, "lambda": chosen.lambda_},
        "judge": judge[0],
        "validation log loss": round(chosen.log_loss, 5),
        "coefficients moved by 10 k at fixed f": f"{effect:.1e}",
        "trials": str(run.folder.tuning),
    }


def _method(run: Run) -> ImportanceMlp:
    name = run.config.tuning.method
    for method in run.config.importance:
        if method.name == name and isinstance(method, ImportanceMlp):
            return method
    raise ConfigError(
        f"tuning.method '{name}' cannot be tuned",
        expected="the name of an importance_mlp of this run",
        got=str([m.name for m in run.config.importance]),
        fix="set tuning.method to one of them, or add it to `importance`",
    )


def _judge(run: Run) -> tuple[str, Judge]:
    """The first judge that can tell, with its name: the recorded labels if no other can."""
    evaluation, known = run.config.evaluation, _known(run)
    usable = {n: j for n, j in all_judges(evaluation.judges).items() if not j.unusable(known)}
    facts: dict[str, Any] = {}
    if not recorded_alone(usable):
        types, positives = kept_types(run.folder), evaluation.judge_positives
        facts = judging.check_judged(run.store, types, usable, positives)
        usable = judging.fitted(run.store, types, usable, known).judges
    able = [name for name in usable if "note" not in facts.get(name, {})]
    name = able[0] if able else RECORDED
    return name, usable[name]


def _known(run: Run) -> Known:
    """What judges know: candidates are compared before the run has a position model."""
    return Known(simulated=run.config.simulation is not None)


def _trials(
    run: Run, samples: DataFrame, methods: tuple[ImportanceMlp, ...], judge: tuple[str, Judge]
) -> list[Trial]:
    """Trains, weights, ranks and evaluates all candidates side by side, on validation."""
    section, names = run.config.weighting, [m.name for m in methods]
    # A candidate with a tiny ESS is a result of the search, not a reason to stop it.
    policy = section.model_copy(update={"ess_refuse": 0.0, "ess_warn": 0.0})
    ranker = search.deciding(run.config.rankers[0], run.config.tuning.method, names)
    kept = kept_types(run.folder)
    reads, features = ranker.columns(), read_stats(run.folder.features)
    validation = with_columns(samples.where("split = 'validation'"), reads, features.sizes, kept)
    job = job_of(validation, features, reads, seed=run.config.seed, fitting=run.config.fitting)
    with persisted(_scored(run, samples, methods)) as scores:
        stats = fit_policy(FrameRows(scores), policy, methods)
        design = design_weight(scores)
        weights = [(weight(F.col(n), policy, stats[n]) * design).alias(n) for n in names]
        wide = scores.select("sample_id", *weights)
        train = weighted_train(samples, wide, features.sizes, names, columns=reads, kept=kept)
        columns = weight_columns(methods, stats)
        with persisted(train) as train:
            fits = fit_rankers(
                train, columns, (ranker,), floor=0.0, job=job, folder=run.folder.search
            )
    fitted = {fit.method: fit.fitted for fit in fits}
    probable = validation.transform(with_probabilities, fitted)
    judged = _judged(_with_masses(run, probable, judge), names)
    return [_trial(m, stats[m.name], judged[m.name]) for m in methods]


def _scored(run: Run, samples: DataFrame, methods: tuple[ImportanceMlp, ...]) -> DataFrame:
    """Training rows with a column of importance per candidate."""
    folder = run.folder.candidates(methods[0].name)
    fit_methods(FitJob.of(run), samples, methods, folder)
    models = {m.name: ModelArtifact.read(folder.model(m.name)) for m in methods}
    train = samples.where("split = 'train'")
    counted = run.config.sampling.counted
    return scored(train, models, ("sample_id", *run.config.weighting.reads, *counted))


def _with_masses(run: Run, rows: DataFrame, judge: tuple[str, Judge]) -> DataFrame:
    """Adds how much each row counts as a positive and as a negative for the judge."""
    judges = dict([judge])
    if recorded_alone(judges):
        return rows.withColumns(recorded_masses(F.col("label"), design_weight(rows)))
    samples = judging.judged_samples(run.store, kept_types(run.folder), judges)
    return judging.with_masses(rows, samples, judges, _known(run))


def _judged(rows: DataFrame, names: list[str]) -> dict[str, Mapping[str, float]]:
    """Sums over the validation rows, in one pass for all candidates."""
    positive, negative = F.col("positive"), F.col("negative")
    columns: dict[str, Column] = {}
    for n in names:
        predicted = F.col(n) >= 0.5
        loss = loss_terms(COLUMNS, F.col(n), positive, negative).loss
        columns |= {
            f"{n}.loss": F.sum(loss) / F.sum(positive + negative),
            f"{n}.tp": F.sum(F.when(predicted, positive).otherwise(0.0)),
            f"{n}.fp": F.sum(F.when(predicted, negative).otherwise(0.0)),
            f"{n}.fn": F.sum(F.when(~predicted, positive).otherwise(0.0)),
            f"{n}.tn": F.sum(F.when(~predicted, negative).otherwise(0.0)),
        }
    sums: Any = rows.agg(*[c.alias(k) for k, c in columns.items()]).first()
    kinds = ("loss", "tp", "fp", "fn", "tn")
    return {n: {kind: float(sums[f"{n}.{kind}"]) for kind in kinds} for n in names}


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
    """Largest change of a regression coefficient if k is ten times as large and f stays the same.

    Weights are w = k f; at the same regParam, Spark divides the loss by their sum. Compared after
    20 iterations: more would only amplify rounding in directions that the data leave open.
    """
    scores, f = _scored(run, samples, candidates), F.col(candidates[0].name)
    wide = scores.select("sample_id", f.alias("k"), (10 * f).alias("ten_k"))
    with persisted(weighted_train(samples, wide, _cardinalities(run), ["k", "ten_k"])) as train:
        total = float(train.agg(F.sum("k")).first()[0])  # type: ignore[index]
        linear = next((r for r in run.config.rankers if isinstance(r, LogisticRegression)), None)
        ranker = (linear or LogisticRegression()).model_copy(update={"max_iter": 20})
        by_k, by_ten_k = (ranker.fitted(train, name, total) for name in ("k", "ten_k"))
    changes = by_k.model.coefficients.toArray() - by_ten_k.model.coefficients.toArray()
    return float(np.abs(changes).max())


def _cardinalities(run: Run) -> tuple[int, ...]:
    return read_stats(run.folder.features).sizes
