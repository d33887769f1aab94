"""A run's fitted models and the statistics of their weight policy, as files."""

import json
from collections.abc import Sequence
from pathlib import Path

from reweight.build_samples.feature_stats import read_stats
from reweight.core.errors import TableError
from reweight.core.run_folder import ModelsFolder
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod


def read_models(
    folder: ModelsFolder, methods: Sequence[ImportanceMethod], features: Path
) -> dict[str, ModelArtifact]:
    """The fitted models, by method name.

    Args:
        folder: folder of the models.
        methods: the methods whose models are read.
        features: file with the feature statistics of the samples to score.

    Raises:
        TableError: a model is missing, was fitted on samples with other feature statistics, or is
            of other settings than its method.
    """
    encoded, models = read_stats(features), {}
    for method in methods:
        model = folder.model(method.name)
        if not ModelArtifact.is_in(model):
            raise TableError(
                f"there is no fitted model of '{method.name}'",
                expected=f"a complete model in {model}",
                got="none",
                fix="run the stage 'fit_importance' first, or check model_run_id",
            )
        if read_stats(folder.features(method.name)) != encoded:
            raise TableError(
                f"the model of '{method.name}' was fitted on features with other statistics",
                expected=f"{folder.features(method.name)} equal to {features}",
                got="other means, scales, vocabularies or names",
                fix=_refit(folder, features),
            )
        models[method.name] = ModelArtifact.read(model)
        _check_settings(method, models[method.name].read_method(), folder, features)
    return models


def _check_settings(
    method: ImportanceMethod, fitted: ImportanceMethod, folder: ModelsFolder, features: Path
) -> None:
    """Checks that a model is what the config says of its method, since it scores as it was fitted.

    Raises:
        TableError: it is not.
    """
    wanted, stored = (json.loads(m.model_dump_json(by_alias=True)) for m in (method, fitted))
    differ = sorted(k for k in {*wanted, *stored} if wanted.get(k) != stored.get(k))
    if not differ:
        return
    source = folder.path.parent
    raise TableError(
        f"the model of '{method.name}' is not that of its settings in `importance`",
        expected=", ".join(f"{key}: {wanted.get(key)}" for key in differ),
        got=", ".join(f"{key}: {stored.get(key)}" for key in differ),
        fix="run the stage 'fit_importance' again"
        if source == features.parent
        else f"write the method as run '{source.name}' has it, or fit new models: "
        "model_run_id=null",
    )


def _refit(folder: ModelsFolder, features: Path) -> str:
    source = folder.path.parent
    if source == features.parent:
        return "run 'fit_importance' again, as the samples were rebuilt"
    return (
        f"run 'fit_importance' of run '{source.name}' if its samples were rebuilt, then "
        "'build_samples' of this one"
    )
