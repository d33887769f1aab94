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

import json
from pathlib import Path
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.columns import in_sample, soft_label
from reweight.errors import TableError, WeightError
from reweight.importance.stored import StoredModel
from reweight.runs import Run, run_folder, write_json
from reweight.scoring import scored
from reweight.stages.build_samples import STATS, read_stats, stats_in
from reweight.stages.fit_importance import MODELS
from reweight.tables import SAMPLES, WEIGHTS
from reweight.weighting import PolicyStats, fit_policy, weight

POLICY = "policy.json"


def score_weights(run: Run) -> dict[str, Any]:
    """Scores every sample by every method and turns importance into weights."""
    samples = run.store.read(SAMPLES)
    models = read_models(run)
    count = _counted(run, samples)
    # Written down once: Spark would run Python again for every use.
    kept = ("sample_id", "split", *policy_reads(run))
    rows = scored(samples, models, kept).persist(StorageLevel.DISK_ONLY)
    try:
        stats = policy_stats(run, rows)
        written = run.store.write(WEIGHTS, weights(run, rows, stats))
    finally:
        rows.unpersist()
    if written != count * len(models):
        raise TableError(
            "weights and samples do not add up",
            expected=f"{count} samples x {len(models)} methods = {count * len(models)} rows",
            came=f"{written}",
            do="samples may have been rewritten meanwhile; run the stage again",
        )
    ess = {method: f"{s.ess_share:.1%}" for method, s in stats.items()}
    return {"rows": written, "samples": count, "ESS": ess}


def policy_reads(run: Run) -> tuple[str, ...]:
    """Columns of samples that the weight policy looks at beside importance."""
    return ("segment",) if run.config.weighting.segment_cap is not None else ()


def read_models(run: Run) -> dict[str, StoredModel]:
    """The fitted models, this run's or those of ``model_run_id``, by method name.

    Raises:
        TableError: one is not there, or was fitted on samples of other statistics than this run's.
    """
    folder, encoded = _models(run), read_stats(run)
    models = {}
    for method in run.config.importance:
        if not (folder / method.name / "model.json").exists():
            raise TableError(
                f"there is no fitted model of '{method.name}'",
                expected=f"{folder / method.name / 'model.json'}",
                came="no such file",
                do="run the stage 'fit_importance' first, or check model_run_id",
            )
        if stats_in(folder / method.name) != encoded:
            raise TableError(
                f"the model of '{method.name}' was fitted on features of other statistics",
                expected=f"{folder / method.name / STATS} as {run.folder / STATS}",
                came="other means, scales, vocabularies or names",
                do="run 'fit_importance' again, as the samples were built anew"
                if run.config.model_run_id is None
                else f"run 'fit_importance' of run '{run.config.model_run_id}' if its samples were "
                "built anew, then 'build_samples' of this one",
            )
        models[method.name] = StoredModel.read(folder / method.name)
    return models


def policy_stats(run: Run, rows: DataFrame) -> dict[str, PolicyStats]:
    """The policy's numbers: learnt from the training split, or those stored with the models."""
    folder, policy = _models(run), run.config.weighting
    if run.config.model_run_id is not None:
        return read_policies(run)
    polarity = {m.name: m.polarity for m in run.config.importance}
    signed = [m.name for m in run.config.importance if m.signed]
    baselines = [m.name for m in run.config.importance if m.method == "uniform"]
    train = rows.where("split = 'train'")
    stats = fit_policy(train, policy, polarity, signed, baselines)
    for method, values in stats.items():
        stored = {"weighting": policy.identity(), "numbers": values.model_dump()}
        write_json(folder / method / POLICY, stored)
    return stats


def read_policies(run: Run) -> dict[str, PolicyStats]:
    """The stored numbers of the policy, by method name.

    Raises:
        WeightError: there are none, or they are of another section ``weighting``.
    """
    folder, own = _models(run), run.config.weighting.identity()
    return {m.name: _read_policy(folder / m.name / POLICY, own) for m in run.config.importance}


def _read_policy(path: Path, own: dict[str, Any]) -> PolicyStats:
    if not path.exists():
        raise WeightError(
            "the numbers of the weight policy are not there",
            expected=str(path),
            came="no such file",
            do="run the stage 'score_weights' of that run first",
        )
    stored = json.loads(path.read_text())
    policy = stored.get("weighting", {})
    if differ := [key for key in own if own[key] != policy.get(key)]:
        told = [", ".join(f"{k}: {json.dumps(p.get(k))}" for k in differ) for p in (policy, own)]
        raise WeightError(
            "the numbers of the weight policy are of another section `weighting`",
            expected=f"{told[0]}, as in {path}",
            came=told[1],
            do="set the section as there, or run the stage 'score_weights' of that run again",
        )
    return PolicyStats.model_validate(stored["numbers"])


def weights(run: Run, scores: DataFrame, stats: dict[str, PolicyStats]) -> DataFrame:
    """Rows of the table ``weights``: one per sample and method."""
    policy = run.config.weighting
    soft = {m.name for m in run.config.importance if m.soft}
    # Models of another run were trained on none of these rows.
    flags = set(scores.columns) if run.config.model_run_id is None else set()
    rows = [
        F.struct(
            F.lit(method).alias("method"),
            F.col(method).cast("double").alias("importance"),
            weight(F.col(method), policy, s).cast("double").alias("weight"),
            (F.col(soft_label(method)) if method in soft else F.lit(None))
            .cast("float")
            .alias("label"),
            # Only rows of the training split were trained on.
            (
                F.col(in_sample(method)) & (F.col("split") == "train")
                if in_sample(method) in flags
                else F.lit(False)
            ).alias("in_sample"),
        )
        for method, s in stats.items()
    ]
    return scores.select("sample_id", F.inline(F.array(*rows)))


def _models(run: Run) -> Path:
    return run_folder(run.config.root, run.config.model_run_id or run.config.run_id) / MODELS


def _counted(run: Run, samples: DataFrame) -> int:
    """Number of samples; each must have a label if a method looks at it."""
    found: Any = samples.agg(F.count("*"), F.count("label")).first()
    using = [m.name for m in run.config.importance if m.uses_label]
    if using and found[0] != found[1]:
        raise WeightError(
            f"the method(s) {using} score a row by its label, and some rows have none",
            expected="a label for every sample",
            came=f"{found[0] - found[1]} of {found[0]} rows with null",
            do="leave these methods out when scoring rows that are not labelled yet",
        )
    return int(found[0])
