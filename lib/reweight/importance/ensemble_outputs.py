"""What trained members say of a batch, computed once however many methods ask."""

from collections.abc import Callable

from torch import Tensor

from reweight.importance.batch import Batch
from reweight.importance.training import Learner


class EnsembleOutputs:
    """A batch and what has been computed of it so far.

    Attributes:
        batch: the rows.
        scores: importance by the methods that were scored so far, float32 [B] by name.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.scores: dict[str, Tensor] = {}
        self._known: dict[tuple[int, str], Tensor] = {}

    def logits(self, learner: Learner) -> Tensor:
        """Log odds of each row by each member, float32 [B, M]."""
        return self.once(learner, "logits", lambda: learner.logits(self.batch))

    def unseen(self, learner: Learner) -> Tensor:
        """The share of each member in each row's score, float32 [B, M]; rows sum to 1."""
        return self.once(learner, "unseen", lambda: learner.unseen(self.batch.sample_id))

    def in_sample(self, learner: Learner) -> Tensor:
        """Which rows are scored by members that see them, since all do; bool [B]."""
        return self.once(learner, "in_sample", lambda: learner.in_sample(self.batch.sample_id))

    def probability(self, learner: Learner) -> Tensor:
        """p(y = 1) of each row by each member, float32 [B, M]."""
        return self.once(learner, "probability", lambda: self.logits(learner).sigmoid())

    def given(self, learner: Learner) -> Tensor:
        """p(given label) of each row by each member, float32 [B, M]."""
        sign = 2 * self.batch.label[:, None] - 1
        return self.once(learner, "given", lambda: (sign * self.logits(learner)).sigmoid())

    def once(self, learner: Learner, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """A tensor of a learner, computed when it is first asked for."""
        key = (id(learner), name)
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


def over_unseen(outputs: EnsembleOutputs, learner: Learner, values: Tensor) -> Tensor:
    """Mean of the members' values over those that did not see the row, float32 [B]."""
    # Counted, and not weighted by shares: equal means of whole numbers stay equal.
    out = (outputs.unseen(learner) > 0).to(values.dtype)
    return (values * out).sum(1) / out.sum(1)
