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
    A run of which nothing can be exported; what is refused leaves what an earlier export left. A
    section ``features`` that is no longer that of the run's models; methods without a model or
    without a policy; and groups whose rows differ in weight with ``exporting.groups: equal``.
"""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame
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
from reweight.serving.export.folder import (
    GROUPS,
    ROWS,
    ScorerFiles,
    remove_exports,
    scorer_files,
)
from reweight.serving.export.onnx_file import check_onnx, write_onnx
from reweight.serving.export.rows import group_weights, trainer_rows, write_rows

# Rows, and the columns that they are sorted by.
_Ordered = tuple[DataFrame, tuple[str, ...]]


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
    strict = run.config.strict or section.methods is not None
    refusals = Refusals(strict=strict, needs_baseline=False)
    scorers = {}
    for method in chosen:
        parts = {name: models[name] for name in (*method.combines(), method.name)}
        with refusals.about(method.name):
            _check_served(run, parts)
            scorers[method.name] = _scorer(run, method.name, parts, policies[method.name], stats)
    if not scorers and not (section.rows or section.groups):
        raise next(iter(refusals.errors.values()))
    tables = {m.name: _tables(run, m.name, stats) for m in chosen}
    # An earlier export is no longer the run's, whether or not its method is exported again.
    remove_exports(run.folder.exports)
    written, no_onnx = {}, {}
    for name, scorer in scorers.items():
        written[name] = ", ".join(("features", *scorer.program.reads))
        if reason := _write(run, name, scorer):
            no_onnx[name] = reason
    for name, method_tables in tables.items():
        for kind, (rows, order) in method_tables.items():
            write_rows(rows, run.folder.export(name) / kind, order)
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
) -> ScorerFiles:
    config = run.config
    weighting, features = (config.weighting, policy), (config.features, stats)
    thinned = bool(config.sampling.counted)
    return scorer_files(config.run_id, name, parts, weighting, features, thinned=thinned)


def _write(run: Run, name: str, scorer: ScorerFiles) -> str | None:
    """Writes the scorer of a method; why there is no ONNX file, if one was asked for."""
    folder = run.folder.export(name)
    scorer.write(folder)
    if run.config.exporting.onnx:
        try:
            write_onnx(folder, name, scorer.program)
        except ServingError as error:
            return error.got
    return None


def _tables(run: Run, name: str, stats: FeatureStats) -> dict[str, _Ordered]:
    """What is written of a method for other trainers: folder -> rows, and their order."""
    section = run.config.exporting
    if not (section.rows or section.groups):
        return {}
    weights = run.store.read(WEIGHTS).where(F.col("method") == name)
    rows = trainer_rows(run.store.read(SAMPLES), weights, list(stats.cardinalities))
    tables: dict[str, _Ordered] = {}
    tables[ROWS] = (rows.drop("design_weight"), ("group_id", "sample_id"))
    if section.groups:
        tables[GROUPS] = (group_weights(rows, section.groups, name), ("group_id",))
    return tables
