"""The members of the union, each small enough to fit in a moment, and rows to fit them on."""

from collections.abc import Collection
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.methods import Method
from reweight.importance.training import TrainFacts, Training

MEMBERS: tuple[type[ImportanceMethod], ...] = get_args(get_args(Method)[0])
CARDINALITIES = (5, 3)
BINS = 3
ROWS, SEED = 400, 3
# A curve that is learnt beside the network begins anywhere and turns late.
EPOCHS = {"mw_net": 40}
# What has no default, since nobody but the user knows it, or shows nothing on rows like these.
KNOWN: dict[str, dict[str, Any]] = {"pu_prior": {"prior": 0.6}, "doubly_robust": {"clip": 1.01}}


def small(member: type[ImportanceMethod]) -> ImportanceMethod:
    """The method as it comes, with fewer and smaller networks that learn faster."""
    known = KNOWN.get(member.model_fields["method"].default, {})
    default = member.model_validate(known)
    changes: dict[str, Any] = known | {
        name: shrunk(value, EPOCHS.get(default.name, 12))
        for name, value in default
        if isinstance(value, Training)
    }
    quick = {"epochs": 12, "learning_rate": 0.01, "hidden": (8,), "embedding": 2}
    if (settings := getattr(default, "training", None)) and "training" not in changes:
        fields = type(settings).model_fields
        changes["training"] = {name: value for name, value in quick.items() if name in fields}
    if "budget" in member.model_fields:
        changes["budget"] = 1000
    return member.model_validate(changes)


def shrunk(training: Training, epochs: int) -> Training:
    values = training.model_dump(by_alias=True) | {"epochs": epochs}
    most = {"members": 8, "embedding": 2}
    values |= {name: min(values[name], limit) for name, limit in most.items() if name in values}
    values["learning_rate"] *= 3
    if "hidden" in values:
        values["hidden"] = (8,) * len(values["hidden"])
    if values.get("bins"):
        values["bins"] = BINS
    return type(training).model_validate(values)


def columns_of(methods: tuple[ImportanceMethod, ...]) -> set[str]:
    return {name for method in methods for name in method.columns()}


def planted(
    rows: int = ROWS, *, seed: int = 0, flips: float = 0.1, extra: Collection[str] = ()
) -> tuple[Batch, Tensor]:
    """Two blobs far apart, a label for each, and which labels are wrong."""
    draw = torch.Generator().manual_seed(seed)
    truth = (torch.rand(rows, generator=draw) < 0.4).float()
    flipped = torch.rand(rows, generator=draw) < flips
    features = torch.randn((rows, 4), generator=draw)
    features[:, :2] += 4 * truth[:, None] - 2
    ids = [torch.randint(0, size, (rows,), generator=draw) for size in CARDINALITIES]
    known = {
        # Target rows are right, and lie elsewhere.
        "target": ((features[:, 3] > 0.5) & ~flipped).float(),
        "segment": torch.randint(0, 4, (rows,), generator=draw).float(),
        "position": torch.randint(1, 6, (rows,), generator=draw).float(),
        # Half of the windows are over.
        "elapsed": (2 * torch.rand(rows, generator=draw)).clamp(max=1),
    }
    known["mature"] = (known["elapsed"] == 1).float()
    other = torch.rand(rows, generator=draw) * 0.8 + 0.1
    batch = Batch(
        sample_id=torch.randint(-(2**63), 2**63 - 1, (rows,), generator=draw),
        features=features,
        ids=torch.stack(ids, dim=1),
        label=torch.where(flipped, 1 - truth, truth),
        extra={name: known.get(name, other) for name in sorted(extra)},
    )
    return batch, flipped


def facts_of(batch: Batch, *, bins: int = BINS, seed: int = SEED) -> TrainFacts:
    places = np.linspace(0, 1, bins + 1)
    cuts = np.quantile(batch.features.numpy(), places, axis=0).T
    return TrainFacts(
        dim=batch.features.shape[1],
        cardinalities=CARDINALITIES,
        rows=len(batch),
        positives=int(batch.label.sum()),
        seed=seed,
        quantiles=tuple(map(tuple, cuts.tolist())),
        segments=("a", "b", "c"),
    )
