"""The outputs of trained members for a batch, computed once and shared by all methods."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from reweight.importance.batch import Batch
from reweight.importance.training import Learner


class EnsembleOutputs:
    """A batch, and everything computed from it so far.

    Attributes:
        batch: the rows.
        scores: importance under the methods scored so far, float32 [B] by name.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.scores: dict[str, Tensor] = {}
        self._cache: dict[tuple[Hashable, str], Tensor] = {}
        self._parts: dict[Hashable, EnsembleOutputs] = {}

    def logits(self, learner: Learner) -> Tensor:
        """Log odds of each row under each member, float32 [B, M]."""
        return self.once(learner, "logits", lambda: learner.logits(self.batch))

    def unseen(self, learner: Learner) -> Tensor:
        """Each member's share of each row's score, float32 [B, M]; rows sum to 1."""
        return self._once(learner.draw, "unseen", lambda: learner.unseen(self.batch.sample_id))

    def in_sample(self, learner: Learner) -> Tensor:
        """Which rows are scored by members that see them, because all members do; bool [B]."""
        ids = self.batch.sample_id
        return self._once(learner.draw, "in_sample", lambda: learner.in_sample(ids))

    def probability(self, learner: Learner) -> Tensor:
        """p(y = 1) of each row under each member, float32 [B, M]."""
        return self.once(learner, "probability", lambda: self.logits(learner).sigmoid())

    def given(self, learner: Learner) -> Tensor:
        """p(given label) of each row under each member, float32 [B, M]."""
        sign = 2 * self.batch.label[:, None] - 1
        return self.once(learner, "given", lambda: (sign * self.logits(learner)).sigmoid())

    def once(self, learner: Learner, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """A tensor derived from a learner, computed on first use."""
        return self._once(id(learner), name, compute)

    def at(
        self,
        chosen: Tensor,
        name: Hashable,
        formula: Callable[["EnsembleOutputs"], Tensor],
        otherwise: Tensor,
    ) -> Tensor:
        """A formula at some of the rows, for which alone members are asked, float32 [B].

        Args:
            chosen: these rows, bool [B].
            name: of the choice, under which what is computed for it is shared.
            formula: returns a value for each row of a batch, float32 [B].
            otherwise: the values of the other rows, float32 [B].
        """
        # A recorded program computes the same for every row.
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return torch.where(chosen, formula(self), otherwise)
        if name not in self._parts:
            self._parts[name] = EnsembleOutputs(self.batch.rows(chosen))
        return otherwise.masked_scatter(chosen, formula(self._parts[name]))

    def _once(self, source: Hashable, name: str, compute: Callable[[], Tensor]) -> Tensor:
        key = (source, name)
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]


def over_unseen(outputs: EnsembleOutputs, learner: Learner, values: Tensor) -> Tensor:
    """Averages the members' values over those that did not see the row, float32 [B]."""
    # Counted rather than weighted by shares, so that equal means of whole numbers stay equal.
    out = (outputs.unseen(learner) > 0).to(values.dtype)
    return (values * out).sum(1) / out.sum(1)
