"""The models of an earlier run from which trainings start, as the driver sees them."""

import json
from collections.abc import Sequence
from pathlib import Path

from reweight.build_samples.feature_stats import read_stats
from reweight.core.digest import digest
from reweight.core.errors import RunError, TrainingError
from reweight.core.files import content_hash
from reweight.core.left_out import Refusals, refused_by
from reweight.core.run_folder import ModelsFolder, RunFolder
from reweight.importance.base import ImportanceMethod
from reweight.training.known_ids import read_ids
from reweight.training.update import check_rank
from reweight.training.warm_start import (
    StartFolder,
    WarmStart,
    check_seed,
    check_start,
    stored_model,
)


def start_folder(section: WarmStart, folder: RunFolder) -> StartFolder:
    """What the ranks need to start from the models of a run."""
    return StartFolder(**section.model_dump(), folder=str(folder.models.path.absolute()))


def check_models(
    section: WarmStart,
    folder: RunFolder,
    methods: Sequence[ImportanceMethod],
    seed: int,
    refusals: Refusals,
) -> None:
    """Checks that methods can start from the models of a run, before any work.

    Args:
        section: the section ``warm_start``.
        folder: of the earlier run.
        methods: the methods to fit.
        seed: of this run.
        refusals: receives the methods that cannot.

    Raises:
        RunError: the run has no fitted models.
        TrainingError: it did not note on which ids they were trained, and the update needs them.
    """
    run_id, models = section.run_id, folder.models
    if not models.fitted.is_file():
        raise RunError(
            f"run '{run_id}' has no fitted models to start from",
            expected=f"a run with trained methods in {models.path}",
            got="none" if folder.path.is_dir() else "no such run",
            fix="write the run_id of a run with models of its own, warm_start: {run_id: RUN}; one "
            "with model_run_id has none",
        )
    left_out = refused_by(folder, "fit_importance")
    trained = [method for method in methods if method.learns() is not None]
    for method in trained:
        stored = None if method.name in left_out else stored_model(models, method)
        with refusals.about(method.name):
            check_start(method, stored, run_id)
            assert stored is not None
            check_seed(method, seed, stored[1].seed, run_id)
            if section.update == "low_rank" and (training := method.learns()):
                check_rank(training.build(stored[1]), section.rank)
    if section.update != "all" and any(_has_ids(models, method) for method in trained):
        read_ids(models)


def _has_ids(models: ModelsFolder, method: ImportanceMethod) -> bool:
    stored = stored_model(models, method)
    return stored is not None and bool(stored[1].cardinalities)


def check_features(
    section: WarmStart,
    models: ModelsFolder,
    methods: Sequence[ImportanceMethod],
    features: Path,
    refusals: Refusals,
) -> None:
    """Checks that the samples are encoded as those that the models were fitted on.

    Args:
        section: the section ``warm_start``.
        models: of the earlier run.
        methods: the methods to fit.
        features: statistics of the samples.
        refusals: receives the methods whose models were fitted on others.
    """
    encoded = read_stats(features)
    for method in methods:
        if method.learns() is None or read_stats(models.features(method.name)) == encoded:
            continue
        error = TrainingError(
            f"'{method.name}' cannot start from a model of other features",
            expected=f"the feature statistics of run '{section.run_id}' in {features}",
            got="other means, scales, vocabularies or names",
            fix="run 'build_samples' again, which takes them from that run",
        )
        refusals.add(method.name, error)


def quantiles_of(
    start: StartFolder, methods: Sequence[ImportanceMethod]
) -> tuple[tuple[float, ...], ...]:
    """The quantiles of the features that the models of these methods were fitted with."""
    for method in methods:
        training = method.learns()
        if training and training.quantile_bins and (stored := stored_model(start.models, method)):
            return stored[1].quantiles
    return ()


def started_from(start: StartFolder, methods: Sequence[ImportanceMethod]) -> str:
    """Identifies the models that methods start from."""
    return digest(*models_read(start, methods).values())


def models_read(start: StartFolder, methods: Sequence[ImportanceMethod]) -> dict[str, str]:
    """Versions of the models that methods start from, by name."""
    models = start.models
    versions = {
        f"{method.name} of {start.run_id}": model_version(models, method.name)
        for method in methods
        if method.learns() is not None
    }
    return versions | {f"ids of {start.run_id}": content_hash(models.ids)}


def model_version(models: ModelsFolder, name: str) -> str:
    """Identifies what was fitted of a method, without the weight policy that is put beside it."""
    return content_hash(models.model(name), without={models.policy("").name})


def said_updated(start: StartFolder, folder: ModelsFolder) -> dict[str, str]:
    """For the summary: how much of each training is trained."""
    sizes = json.loads(folder.updated.read_text()) if folder.updated.exists() else {}
    return {
        name: f"from run '{start.run_id}', {start.update}: {trained:,} of {total:,} parameters "
        f"({trained / total:.1%})"
        for name, (trained, total) in sizes.items()
    }
