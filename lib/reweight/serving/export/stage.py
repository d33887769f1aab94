"""The stage export, which runs on its own after score_weights.

Reads:
    The folders of the models with their policies; with ``exporting.rows`` or ``groups`` also the
    tables ``samples`` and ``weights``.

Writes:
    ``export/<method>``: ``scorer.pt``, a program that gives importance and weight; ``scorer.json``,
    the statistics of the features; with ``exporting.onnx`` also ``scorer.onnx``; and with
    ``exporting.rows`` or ``groups`` Parquet in the folders ``rows`` and ``groups``. All of it takes
    the place of what the run exported before, of any method.

Leaves out:
    Methods that value training rows instead of scoring them, those that read texts or sequences,
    and those whose formula cannot be recorded. The summary gives the reason of each. With
    ``strict: true``, or if ``exporting.methods`` names the method, it is an error.

Refuses:
    A section ``features`` that is no longer that of the run's models; methods without a model or
    without a policy; and groups whose rows differ in weight with ``exporting.groups: equal``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F

from reweight.build_samples.encoding import check_stats
from reweight.build_samples.feature_stats import FeatureStats, read_stats
from reweight.config import Run
from reweight.core.errors import SampleError, ServingError
from reweight.core.left_out import Refusals, left_out, without
from reweight.core.tables import SAMPLES, WEIGHTS
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.score_weights.models import read_models
from reweight.score_weights.policy import PolicyStats
from reweight.score_weights.policy_files import read_policies
from reweight.serving.export.folder import GROUPS, ROWS, remove_exports, write_scorer
from reweight.serving.export.onnx_file import check_onnx, write_onnx
from reweight.serving.export.rows import group_weights, trainer_rows, write_rows


def export(run: Run) -> dict[str, Any]:
    """Exports scorers that need no Spark, and rows with weights for other trainers."""
    section, folder = run.config.exporting, run.config.model_folder.models
    if section.onnx:
        check_onnx()
    methods = without(run.config.importance, left_out(run.folder, before="train_ranker"))
    chosen = _chosen(run, methods)
    models = read_models(folder, methods, run.folder.features)
    policies = read_policies(folder, run.config.weighting, chosen)
    stats = _stats(run)
    # An earlier export is no longer the run's, whether or not its method is exported again.
    remove_exports(run.folder.exports)
    refusals = Refusals(strict=run.config.strict or section.methods is not None)
    written, no_onnx = {}, {}
    for method in chosen:
        parts = {name: models[name] for name in (*method.combines(), method.name)}
        with refusals.about(method.name):
            _check_served(run, parts)
            reads, reason = _scorer(run, method.name, parts, policies[method.name], stats)
            written[method.name] = ", ".join(("features", *reads))
            if reason:
                no_onnx[method.name] = reason
    if section.rows or section.groups:
        for method in chosen:
            _rows(run, method.name, stats)
    summary: dict[str, Any] = {"scorers": written, "folder": str(run.folder.exports)}
    if no_onnx:
        summary["without ONNX"] = no_onnx
    return summary | refusals.summary()


def _stats(run: Run) -> FeatureStats:
    """The statistics of the features, by which a scorer encodes the features of the config.

    Raises:
        SampleError: they are of other features.
    """
    stats = read_stats(run.folder.features)
    try:
        check_stats(run.config.features, stats)
    except SampleError as error:
        raise SampleError(
            error.what,
            expected=f"the section `features` with which run '{run.config.run_id}' was made",
            got=error.got,
            fix="write the section as it was, or run the pipeline: python jobs/pipeline.py CONFIG",
        ) from error
    return stats


def _check_served(run: Run, parts: Mapping[str, ModelArtifact]) -> None:
    """Refuses what a scorer cannot make of a dict of features.

    Args:
        run: the run.
        parts: the models of the methods that a method combines, and then its own.

    Raises:
        ServingError: one of them reads texts or earlier events.
    """
    read = "features.text" if run.config.features.text else "features.sequence"
    in_order = any(stored.read_method().reads_sequence for stored in parts.values())
    if read == "features.text" or in_order:
        raise ServingError(
            f"the method '{list(parts)[-1]}' cannot be exported",
            expected="features that are numbers, times and categories",
            got=f"{read}, which only executors can encode",
            fix="score its rows by score_weights, or fit a run without them for serving",
        )


def _chosen(run: Run, methods: tuple[ImportanceMethod, ...]) -> tuple[ImportanceMethod, ...]:
    names = run.config.exporting.methods
    if names is None:
        return methods
    if unknown := sorted({*names} - {method.name for method in methods}):
        reasons = left_out(run.folder, before="train_ranker")
        raise ServingError(
            "exporting.methods names methods without weights",
            expected=f"names among {sorted(method.name for method in methods)}",
            got="; ".join(f"{n}: {reasons.get(n, 'not in the run')}" for n in unknown),
            fix="write exporting: "
            f"{{methods: [{', '.join(n for n in names if n not in unknown)}]}}",
        )
    return tuple(method for method in methods if method.name in names)


def _scorer(
    run: Run,
    name: str,
    parts: Mapping[str, ModelArtifact],
    policy: PolicyStats,
    stats: FeatureStats,
) -> tuple[tuple[str, ...], str | None]:
    """Writes a scorer; what it reads besides features, and why there is no ONNX file."""
    config = run.config
    folder = run.folder.export(name)
    weighting, features = (config.weighting, policy), (config.features, stats)
    thinned = bool(config.sampling.counted)
    program = write_scorer(folder, config.run_id, name, parts, weighting, features, thinned=thinned)
    if not config.exporting.onnx:
        return program.reads, None
    try:
        write_onnx(folder, name, program)
    except ServingError as error:
        return program.reads, error.got
    return program.reads, None


def _rows(run: Run, name: str, stats: FeatureStats) -> None:
    section, folder = run.config.exporting, Path(run.folder.export(name))
    weights = run.store.read(WEIGHTS).where(F.col("method") == name)
    rows = trainer_rows(run.store.read(SAMPLES), weights, list(stats.cardinalities))
    if section.groups:
        groups = group_weights(rows, section.groups, name)
        write_rows(groups, folder / GROUPS, ("group_id",))
    write_rows(rows.drop("design_weight"), folder / ROWS, ("group_id", "sample_id"))
