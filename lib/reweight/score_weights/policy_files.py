"""What the weight policy learned for each method, as files beside the models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reweight.core.errors import WeightError
from reweight.core.files import write_json
from reweight.core.run_folder import ModelsFolder
from reweight.score_weights.policy import PolicyStats, WeighedMethod, Weighting


def write_policies(folder: ModelsFolder, policy: Weighting, stats: dict[str, PolicyStats]) -> None:
    """Writes what the policy learnt for each method, next to its model."""
    for method, values in stats.items():
        content = {"weighting": policy.identity(), "numbers": values.model_dump()}
        write_json(folder.policy(method), content)


def read_policies(
    folder: ModelsFolder, policy: Weighting, methods: Sequence[WeighedMethod]
) -> dict[str, PolicyStats]:
    """What the policy learnt, by method name.

    Raises:
        WeightError: the file is missing, or is for other settings in ``weighting``.
    """
    return {m.name: _read_policy(folder.policy(m.name), policy.identity()) for m in methods}


def _read_policy(path: Path, identity: dict[str, Any]) -> PolicyStats:
    if not path.exists():
        raise WeightError(
            "the statistics of the weight policy are missing",
            expected=str(path),
            got="no such file",
            fix="run the stage 'score_weights' of that run first",
        )
    content = json.loads(path.read_text())
    policy = content.get("weighting", {})
    if different := [key for key in identity if identity[key] != policy.get(key)]:
        fitted_with, configured = (
            ", ".join(f"{k}: {json.dumps(p.get(k))}" for k in different) for p in (policy, identity)
        )
        raise WeightError(
            "the weight policy was fitted with other settings in the section `weighting`",
            expected=f"{fitted_with}, as in {path}",
            got=configured,
            fix="copy the section from that file, or run the stage 'score_weights' of that run "
            "again",
        )
    return PolicyStats.model_validate(content["numbers"])
