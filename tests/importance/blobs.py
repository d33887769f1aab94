"""Two blobs with some wrong labels, and members at several epochs whose every number is known."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from reweight.importance.artifact import Scorer
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble import EnsembleTraining
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

Array = NDArray[np.float64]
TRAINING = EnsembleTraining(epochs=4, members=6, hidden=(5,), embedding=2, bins=2)
QUICK = EnsembleTraining(epochs=10, members=8)
FACTS = TrainFacts(
    dim=3,
    cardinalities=(4, 6),
    rows=40,
    positives=15,
    seed=5,
    quantiles=((-3.0, 0.0, 3.0), (-2.0, -1.0, 2.0), (0.0, 0.0, 1.0)),
)


def rows_of(count: int = 30, seed: int = 0) -> Batch:
    """Rows of no meaning, as the facts have them."""
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        sample_id=torch.randint(-(2**62), 2**62, (count,), generator=draw),
        features=torch.randn((count, 3), generator=draw),
        ids=torch.stack([torch.randint(0, n, (count,), generator=draw) for n in (4, 6)], dim=1),
        label=(torch.rand(count, generator=draw) < 0.4).float(),
        extra={"target": (torch.rand(count, generator=draw) < 0.3).float()},
    )


def built(method: ImportanceMethod, epochs: tuple[int, ...] = (1, 2, 3)) -> ImportanceModel:
    """The method's model over members whose parameters differ from epoch to epoch."""
    model, draw = method.build(FACTS, epochs), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.7 * torch.randn(parameter.shape, generator=draw)
    return model.eval()


@dataclass
class Said:
    """What the members of a model say of rows: z [E, B, M] and who did not see the row [B, M]."""

    z: Array
    unseen: NDArray[np.bool_]
    y: Array

    @classmethod
    def of(cls, model: ImportanceModel, batch: Batch) -> "Said":
        learners = model.checkpoints()
        with torch.no_grad():
            z = torch.stack([learner.logits(batch) for learner in learners]).double().numpy()
        unseen = learners[0].unseen(batch.sample_id).numpy() > 0
        assert 0 < unseen.mean() < 1
        return cls(z, unseen, batch.label.double().numpy())

    @property
    def p(self) -> Array:
        """p(y = 1), [E, B, M]."""
        found: Array = 1 / (1 + np.exp(-self.z))
        return found

    @property
    def given(self) -> Array:
        """p(given label), [E, B, M]."""
        return np.where(self.y[:, None] == 1, self.p, 1 - self.p)

    def mean(self, values: Array) -> Array:
        """[..., B, M] over the members that did not see the row, [..., B]."""
        return np.stack(
            [values[..., i, own].mean(-1) for i, own in enumerate(self.unseen)], axis=-1
        )


def scores(model: ImportanceModel, batch: Batch) -> Array:
    with torch.inference_mode():
        return model(batch).double().numpy()


@dataclass
class Planted:
    """Training rows in two blobs, and what is known of them.

    Attributes:
        scores: by name of the method.
        flipped: whether the label was turned.
        between: whether the row lies between the blobs.
        label: as it came to be.
    """

    scores: dict[str, Array]
    flipped: NDArray[np.bool_]
    between: NDArray[np.bool_]
    label: NDArray[np.bool_]

    def auroc(self, method: str) -> float:
        """How well high scores tell rows of wrong labels from the others."""
        return float(roc_auc_score(self.flipped, self.scores[method]))


def planted(*methods: ImportanceMethod, positives: float = 0.5, rows: int = 400) -> Planted:
    """Fits methods on two blobs with one label in ten turned."""
    draw = np.random.default_rng(0)
    truth, flipped = draw.random(rows) < positives, draw.random(rows) < 0.1
    features, label = draw.normal(size=(rows, 2)) + 3.0 * truth[:, None], truth ^ flipped
    trusted = ~flipped & (draw.random(rows) < 0.3)
    batch = Batch(
        sample_id=torch.arange(rows),
        features=torch.tensor(features, dtype=torch.float32),
        ids=torch.zeros((rows, 0), dtype=torch.int64),
        label=torch.tensor(label, dtype=torch.float32),
        extra={"target": torch.tensor(trusted, dtype=torch.float32)},
    )
    cuts = np.quantile(features, [0, 1 / 3, 2 / 3, 1], axis=0).T
    facts = TrainFacts(
        dim=2, rows=rows, positives=int(label.sum()), quantiles=tuple(map(tuple, cuts.tolist()))
    )
    stored, _ = fit_in_memory(methods, facts, batch, batch, batch_size=64)
    found = {name: values.double().numpy() for name, values in Scorer(stored)(batch).items()}
    return Planted(found, flipped, abs(features.sum(1) - 3) < 1, label)
