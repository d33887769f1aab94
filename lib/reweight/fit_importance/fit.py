"""Fits methods on the rows of a frame: checks, snapshots, launch, models."""

import json
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame

from reweight.core.digest import digest
from reweight.core.files import write_json
from reweight.core.hashing import uniform
from reweight.core.left_out import Refusals, refuse_combinations, without
from reweight.core.revision import revision
from reweight.core.run_folder import ModelsFolder
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.launch import launch_until_done
from reweight.fit_importance.on_driver import fits_driver
from reweight.fit_importance.preconditions import training_facts
from reweight.fit_importance.snapshot import Content, content_of, write_snapshot
from reweight.fit_importance.starting_models import said_updated, started_from
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.training import TrainFacts
from reweight.training.plan import FitPlan
from reweight.training.refused import read_refused


def fit_methods(
    job: FitJob,
    samples: DataFrame,
    methods: tuple[ImportanceMethod, ...],
    folder: ModelsFolder,
    refusals: Refusals | None = None,
) -> dict[str, Any]:
    """Fits methods side by side and leaves the model of each in ``folder``.

    Args:
        job: the settings.
        samples: rows with the columns of the table ``samples`` that the methods read.
        methods: the methods to fit.
        folder: a folder that the driver and the executors share.
        refusals: receives the methods that cannot be fitted; by default they are errors.

    Returns:
        What the stage reports: numbers of rows, losses, seconds, and failures before a resume.
    """
    refusals = refusals or Refusals()
    facts = training_facts(job, samples, methods, refusals)
    refuse_combinations(methods, refusals)
    methods = refusals.remaining(methods)
    for method in methods:
        if not method.trained:
            ModelArtifact.of(method, facts, method.build(facts)).replace(folder, method.name)
    summary: dict[str, Any] = {"rows": facts.rows, "positives": facts.positives}
    if trained := tuple(m for m in methods if m.trained):
        plan = training_plan(job, samples, facts, trained, folder)
        summary |= train(job, plan.model_copy(update={"strict": refusals.strict}))
        for name, error in read_refused(folder).items():
            refusals.add(name, error)
        refuse_combinations(methods, refusals)
        refusals.remaining(methods)
    else:
        # What an earlier training left is of no method of this one.
        folder.fitted.unlink(missing_ok=True)
        folder.curves.unlink(missing_ok=True)
    return summary


def training_plan(
    job: FitJob,
    samples: DataFrame,
    facts: TrainFacts,
    methods: tuple[ImportanceMethod, ...],
    folder: ModelsFolder,
) -> FitPlan:
    """Writes the rows for training; its key names rows, features, settings and code.

    Args:
        job: the settings.
        samples: with the columns of the table ``samples``.
        facts: of the training rows.
        methods: those to train.
        folder: for the models.
    """
    extra = tuple(sorted({column for method in methods for column in method.columns()}))
    with_sequence = any(method.reads_sequence for method in methods)
    local = fits_driver(job, facts, len(extra), with_sequence=with_sequence)
    where = "driver" if local else "executors"
    content = content_of(samples, extra, with_sequence=with_sequence)
    snapshots = _write_snapshots(job, samples, facts, content, extra, with_sequence)
    settings = [m.model_dump_json(by_alias=True) for m in methods]
    # Mean times follow from the rows; their last digits depend on how Spark was cut.
    settings.append(facts.model_dump_json(exclude={"arrived", "waiting"}))
    if job.start is not None:
        settings += [job.start.model_dump_json(), started_from(job.start, methods)]
    return FitPlan(
        methods=methods,
        facts=facts,
        extra=extra,
        fitting=job.fitting.model_copy(update={"where": where}),
        train=str(snapshots / "train"),
        validation=str(snapshots / "validation"),
        folder=str(folder.path.absolute()),
        key=digest(
            content.fingerprint, str(job.seed), job.fitting.identity(), revision(), *settings
        ),
        seed=job.seed,
        start=job.start,
    )


def train(job: FitJob, plan: FitPlan) -> dict[str, Any]:
    """Launches the ranks, unless the folder holds what they would train.

    Returns:
        Losses, seconds, and failures before a resume.
    """
    folder, key = plan.models, plan.key
    failures = []
    if not _is_fitted(folder, key, plan):
        folder.fitted.unlink(missing_ok=True)
        folder.refused.unlink(missing_ok=True)
        folder.updated.unlink(missing_ok=True)
        failures = launch_until_done(job, plan)
        write_json(folder.fitted, key)
        folder.checkpoint.unlink(missing_ok=True)
    curves = json.loads(folder.curves.read_text())
    seconds = sum(
        max((c[i]["seconds"] for c in curves.values() if i < len(c)), default=0.0)
        for i in range(max((len(c) for c in curves.values()), default=0))
    )
    losses = {k: f"{c[0]['train']:.4g} -> {c[-1]['train']:.4g}" for k, c in curves.items() if c}
    summary: dict[str, Any] = {"training loss": losses, "training seconds": round(seconds, 1)}
    if plan.start is not None:
        summary["warm start"] = said_updated(plan.start, folder)
    return summary | ({"resumed after": failures} if failures else {})


def _is_fitted(folder: ModelsFolder, key: str, plan: FitPlan) -> bool:
    """Whether the models exist and were fitted on the same rows, features, settings and code."""
    refused = read_refused(folder)
    if plan.strict and refused:
        return False
    kept = without(plan.methods, refused)
    complete = all(ModelArtifact.is_in(folder.model(method.name)) for method in kept)
    return folder.fitted.exists() and complete and json.loads(folder.fitted.read_text()) == key


def _write_snapshots(
    job: FitJob,
    samples: DataFrame,
    facts: TrainFacts,
    content: Content,
    extra: tuple[str, ...],
    with_sequence: bool,
) -> Path:
    """Writes the training rows and a hashed sample of the validation rows as Parquet."""
    rows = content.fingerprint
    key = digest(rows, str(job.seed), job.fitting.identity(), revision(), *extra)
    section, folder = job.fitting, job.snapshots
    options: dict[str, Any] = {
        "shards": section.shards,
        "with_ids": bool(facts.cardinalities),
        "key": key,
        "extra": extra,
        "segments": facts.segments,
        "with_sequence": with_sequence,
    }
    training = samples.where("split = 'train'")
    write_snapshot(training, folder / "train", rows=facts.rows, **options)
    validation = samples.where("split = 'validation'")
    share = min(1.0, section.validation_rows / max(1, content.validation))
    sampled = validation.where(uniform(job.seed, "curve", "sample_id") <= share)
    write_snapshot(sampled, folder / "validation", rows=section.validation_rows, **options)
    return folder
