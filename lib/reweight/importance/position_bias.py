"""Position bias: propensities theta by position, relevance gamma from an ensemble.

    P(click | x, k) = theta_k gamma(x),    theta_1 = 1

Wang et al. 2018, "Position Bias Estimation for Unbiased Learning to Rank in Personal Search", whose
regression-EM maximises the likelihood of the clicks; here theta and the network gamma maximise it
jointly by gradient descent. Since E[click | k] = theta_k E[gamma | k], theta is then re-estimated
from sums at each position, with gamma from the members that did not see the row: a training too
short to move theta far is long enough for that.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble import EnsembleLearner, FoldsTraining
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import EnsembleMethod
from reweight.importance.position_checks import check_features, check_positions, check_propensities
from reweight.importance.thinning import thinned
from reweight.importance.training import Learner, TrainFacts

# AdamW moves all parameters at the same rate, and log odds have further to go than weights.
_SPEED = 3.0
# With fewer rows at a position, features may seem to follow from it by chance.
_MIN_ROWS = 10


class PositionTraining(FoldsTraining):
    """Members for gamma, each trained on all folds but one, and a single theta.

    Attributes:
        propensity: ``estimate`` learns theta from the column ``position``; ``column`` reads it for
            each row from the column ``propensity``.
        max_position: positions from here on share one theta.
    """

    propensity: Literal["estimate", "column"] = "estimate"
    max_position: int = Field(default=20, ge=2)

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """``position``, or ``propensity`` if theta is read from a column."""
        return ("position",) if self.propensity == "estimate" else ("propensity",)

    def build(self, facts: TrainFacts) -> Learner:
        """Untrained gamma and theta."""
        return PositionLearner(self, facts)


class PositionLearner(EnsembleLearner):
    """An ensemble for the log odds of gamma, trained on the cross-entropy of theta gamma."""

    def __init__(self, training: PositionTraining, facts: TrainFacts) -> None:
        super().__init__(training, facts)
        self.examined = None
        if training.propensity == "estimate":
            # Log odds of theta, starting from 0; position 1 has nothing to learn.
            self.examined = nn.Parameter(torch.zeros(training.max_position))

    def recorded(self, logits: Tensor, batch: Batch) -> Tensor:
        """Log odds of theta gamma, float32 [B, M]."""
        if self.examined is None:
            theta = known(batch)
            log_seen, log_unseen = theta.log(), (-theta).log1p()
        else:
            log_odds = self.examined * _SPEED
            log_odds = torch.cat([log_odds[:1], log_odds.new_full((1,), math.inf), log_odds[1:]])
            log_odds = log_odds[place(batch, len(log_odds) - 1)]
            log_seen, log_unseen = functional.logsigmoid(log_odds), functional.logsigmoid(-log_odds)
        return thinned(logits, log_seen[:, None], log_unseen[:, None])


class PositionMethod(EnsembleMethod, ABC):
    """A formula over the propensity of each row and the relevance of its item.

    A subclass defines the importance and the label of a row.

    Attributes:
        training: of gamma and theta.
        clip: largest inverse propensity.
    """

    uses_label: ClassVar[bool] = True
    # With negatives left out, P(click | x, k) is no product of theta and gamma.
    needs_all_negatives: ClassVar[bool] = True
    cost: ClassVar[str] = "E M F"
    passes: ClassVar[int] = 1

    training: PositionTraining = PositionTraining()
    clip: float = Field(default=10.0, gt=1)

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """``position``, or ``propensity`` if ``training.propensity`` is ``column``."""
        return self.training.needs

    @property
    def estimates_propensities(self) -> bool:
        """Unless they are read from a column."""
        return self.training.propensity == "estimate"

    def inverse(self, label: Tensor, theta: Tensor) -> Tensor:
        """1 / theta for clicks, clipped, and 1 for other rows, float32 [B]."""
        return torch.where(label > 0.5, 1 / theta.clamp(min=1 / self.clip), 1.0)

    @abstractmethod
    def importance(self, model: "PositionModel", outputs: EnsembleOutputs) -> Tensor:
        """The importance of the rows, float32 [B]."""

    @abstractmethod
    def label(self, model: "PositionModel", outputs: EnsembleOutputs) -> Tensor:
        """The label that a ranker should learn for the rows, float32 [B] in [0, 1]."""

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula over known or estimated propensities."""
        if self.training.propensity == "estimate":
            return EstimatedModel(self, facts)
        return PositionModel(self)


class PositionModel(ImportanceModel):
    """A formula over known propensities.

    Attributes:
        mean: of the clipped inverse propensities of the training rows.
        smallest: the smallest propensity of the training rows.
        clipped: share of the training rows with a propensity below 1 / clip.
    """

    mean: Tensor
    smallest: Tensor
    clipped: Tensor
    totals: Tensor

    def __init__(self, method: PositionMethod) -> None:
        super().__init__()
        self.method = method
        for name in ("mean", "smallest", "clipped"):
            self.register_buffer(name, torch.tensor(1.0, dtype=torch.float64))
        totals = torch.zeros(4, dtype=torch.float64)
        self.register_buffer("totals", totals, persistent=False)

    def propensity(self, batch: Batch) -> Tensor:
        """theta of each row, in (0, 1], float32 [B]."""
        return known(batch)

    def over_members(self, outputs: EnsembleOutputs, formula: Callable[[Tensor], Tensor]) -> Tensor:
        """Averages a formula of gamma's log odds over members that did not see the row, [B]."""
        return self.mean_unseen(outputs, lambda learner: formula(outputs.logits(learner)))

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The method's importance, float32 [B]."""
        return self.method.importance(self, outputs)

    def soft_label(self, outputs: EnsembleOutputs) -> Tensor:
        """The method's label, float32 [B]."""
        return self.method.label(self, outputs)

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Adds up rows, inverse propensities, and how many propensities are clipped or invalid."""
        if split != "train":
            return
        batch, theta = outputs.batch, self.propensity(outputs.batch)
        propensity = batch.extra["propensity"]
        self.smallest.copy_(torch.minimum(self.smallest, propensity.min()))
        self.totals += torch.stack(
            [
                torch.ones_like(theta, dtype=torch.float64).sum(),
                self.method.inverse(batch.label, theta).double().sum(),
                (theta < 1 / self.method.clip).double().sum(),
                (~((propensity > 0) & (propensity <= 1))).double().sum(),
            ]
        )

    def sums(self) -> list[Tensor]:
        """The totals."""
        return [self.totals]

    def finish(self, number: int) -> None:
        """Refuses invalid propensities, and logs a summary of the others."""
        rows, importance, clipped, invalid = self.totals.tolist()
        check_propensities(self.method.name, invalid, rows)
        if dist.is_initialized():
            dist.all_reduce(self.smallest, dist.ReduceOp.MIN)
        self.tell(importance / rows, self.smallest.item(), clipped / rows)

    def tell(self, mean: float, smallest: float, clipped: float) -> None:
        """Stores and logs what a user should know before using the weights."""
        self.mean.fill_(mean)
        self.smallest.fill_(smallest)
        self.clipped.fill_(clipped)
        self.method.say(
            f"smallest propensity {smallest:.4g}; {clipped:.1%} of the training rows are below "
            f"1 / clip = {1 / self.method.clip:.4g}"
        )


class EstimatedModel(PositionModel):
    """A formula over the theta of each position.

    Attributes:
        theta: of rows without a position, then of positions 1 to ``max_position`` = K,
            float32 [K + 1].
    """

    theta: Tensor
    counts: Tensor
    moments: Tensor
    names: tuple[str, ...]

    def __init__(self, method: PositionMethod, facts: TrainFacts) -> None:
        super().__init__(method)
        self.names = facts.names
        positions = method.training.max_position + 1
        self.register_buffer("theta", torch.ones(positions))
        # Rows, clicks, gamma and rows below position 1; sums of features and of their squares.
        for name, columns in (("counts", 4), ("moments", 2 * facts.dim)):
            empty = torch.zeros((positions, columns), dtype=torch.float64)
            self.register_buffer(name, empty, persistent=False)

    def propensities(self) -> list[float]:
        """theta by position."""
        return [float(theta) for theta in self.theta]

    def propensity(self, batch: Batch) -> Tensor:
        """theta of each row's position, float32 [B]."""
        return self.theta[place(batch, len(self.theta) - 1)]

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Adds up rows, clicks, gamma and features at each position."""
        if split != "train":
            return
        batch = outputs.batch
        gamma = self.over_members(outputs, torch.sigmoid)
        below = (batch.extra["position"] < 1).float()
        counts = torch.stack([torch.ones_like(gamma), batch.label, gamma, below], 1).double()
        position, x = place(batch, len(self.theta) - 1), batch.features.double()
        self.counts.index_add_(0, position, counts)
        self.moments.index_add_(0, position, torch.cat([x, x.square()], 1))

    def sums(self) -> list[Tensor]:
        """The counts and the moments."""
        return [self.counts, self.moments]

    def finish(self, number: int) -> None:
        """Estimates theta of each position; without rows it is 1, which leaves labels unchanged."""
        rows, clicks, gamma, below = self.counts.T
        method, before = self.method, float(below.sum())
        check_positions(method.name, before, float(rows[1]) - before, float(rows[2:].sum()))
        check_features(method.name, between(rows, self.moments), self.names)
        # Half a click extra keeps the propensity of a position without clicks above 0.
        ratio = (clicks + 0.5) / (gamma + 0.5)
        theta = torch.where(rows > 0, ratio / ratio[1], 1.0).clamp(max=1)
        self.theta.copy_(theta)
        weights = self.method.inverse(torch.ones_like(theta), theta)
        mean = (clicks * weights + rows - clicks).sum() / rows.sum()
        clipped = (rows * (theta < 1 / method.clip)).sum() / rows.sum()
        shown = ", ".join(f"{value:.3g}" for value in theta[1:][rows[1:] > 0].tolist())
        method.say(f"propensity by position: {shown}")
        self.tell(float(mean), float(theta[rows > 0].min()), float(clipped))


def known(batch: Batch) -> Tensor:
    """The propensities of the rows; an invalid one counts as 1, which leaves labels unchanged."""
    propensity = batch.extra["propensity"]
    return torch.where((propensity > 0) & (propensity <= 1), propensity, 1.0)


def place(batch: Batch, last: int) -> Tensor:
    """The position of each row, at most ``last``; 0 if it has none; int64 [B]."""
    position = batch.extra["position"]
    return torch.where(position.isnan(), 0, position.clamp(1, last)).long()


def between(rows: Tensor, moments: Tensor) -> Tensor:
    """Share of each feature's variance that lies between positions, float64 [D].

    Positions with few rows are left out: a feature that is set in a single row would look as if it
    followed from the position of that row.

    Args:
        rows: number of rows at each position, [K].
        moments: sums of each feature, then of its square, at each position, [K, 2 D].
    """
    enough = rows >= _MIN_ROWS
    rows, (sums, squares) = rows[enough], moments[enough].chunk(2, dim=1)
    n = rows.sum().clamp(min=1)
    centre = (sums.sum(0) / n).square()
    variance = squares.sum(0) / n - centre
    explained = (sums.square() / rows[:, None]).sum(0) / n - centre
    return torch.where(variance > 1e-9, explained / variance.clamp(min=1e-9), 0.0)
