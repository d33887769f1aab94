"""Importance that follows from counts: the weight policy may refuse it before anything is trained.

It is kept, so that a policy that changes can be asked again without reading the rows.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reweight.core.left_out import Refusals
from reweight.core.run_folder import ModelsFolder
from reweight.fit_importance.job import KnownPolicy
from reweight.importance.base import ImportanceMethod


@dataclass(frozen=True)
class KnownWeights:
    """A weight policy that remembers what it was asked.

    Attributes:
        policy: the policy.
        seen: method -> each importance and the number of training rows that have it.
    """

    policy: KnownPolicy
    seen: dict[str, list[list[float]]] = field(default_factory=dict)

    def check_known(self, method: Any, known: NDArray[np.float64]) -> None:
        """Refuses weights that leave too few effective samples, as the policy does."""
        self.seen[method.name] = known.tolist()
        self.policy.check_known(method, known)


class _Asking(Protocol):
    @property
    def importance(self) -> Sequence[ImportanceMethod]: ...
    @property
    def weighting(self) -> KnownPolicy: ...


def refused_weights(config: _Asking, folder: ModelsFolder) -> dict[str, str]:
    """The methods of a run whose known weights its policy refuses, each with the reason.

    Args:
        config: of the run; the policy may be another than the one that the models were fitted for.
        folder: of the models.
    """
    path = folder.known
    seen = json.loads(path.read_text()) if path.exists() else {}
    refusals = Refusals(strict=False)
    for method in config.importance:
        if method.name in seen:
            with refusals.about(method.name):
                config.weighting.check_known(method, np.array(seen[method.name]))
    return refusals.reasons()
