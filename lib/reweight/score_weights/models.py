"""The fitted models of a run with the numbers of their weight policy, as files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reweight.build_samples.feature_stats import read_stats
from reweight.core.errors import TableError, WeightError
from reweight.core.files import write_json
from reweight.core.run_folder import ModelsFolder
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.score_weights.policy import PolicyStats, Weighting


def read_models(
    folder: ModelsFolder, methods: Sequence[ImportanceMethod], features: Path
) -> dict[str, ModelArtifact]:
    """The fitted models, by method name.

    Args:
        folder: of the models.
        methods: whose models are wanted.
        features: the feature statistics of the samples that they are to score.

    Raises:
        TableError: one is not there, or was fitted on samples of other statistics.
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
                f"the model of '{method.name}' was fitted on features of other statistics",
                expected=f"{folder.features(method.name)} as {features}",
                got="other means, scales, vocabularies or names",
                fix="run 'fit_importance' again if the samples were built anew; with model_run_id, "
                "'fit_importance' of that run and then 'build_samples' of this one",
            )
        models[method.name] = ModelArtifact.read(model)
    return models


def write_policies(folder: ModelsFolder, policy: Weighting, stats: dict[str, PolicyStats]) -> None:
    """Writes what the policy learnt beside each model."""
    for method, values in stats.items():
        content = {"weighting": policy.identity(), "numbers": values.model_dump()}
        write_json(folder.policy(method), content)


def read_policies(
    folder: ModelsFolder, policy: Weighting, methods: Sequence[ImportanceMethod]
) -> dict[str, PolicyStats]:
    """What the policy learnt, by method name.

    Raises:
        WeightError: there is nothing, or it is of another section ``weighting``.
    """
    return {m.name: _read_policy(folder.policy(m.name), policy.identity()) for m in methods}


def _read_policy(path: Path, wanted: dict[str, Any]) -> PolicyStats:
    if not path.exists():
        raise WeightError(
            "the numbers of the weight policy are not there",
            expected=str(path),
            got="no such file",
            fix="run the stage 'score_weights' of that run first",
        )
    content = json.loads(path.read_text())
    policy = content.get("weighting", {})
    if differ := [key for key in wanted if wanted[key] != policy.get(key)]:
        there, here = (
            ", ".join(f"{k}: {json.dumps(p.get(k))}" for k in differ) for p in (policy, wanted)
        )
        raise WeightError(
            "the numbers of the weight policy are of another section `weighting`",
            expected=f"{there}, as in {path}",
            got=here,
            fix="set the section as there, or run the stage 'score_weights' of that run again",
        )
    return PolicyStats.model_validate(content["numbers"])
