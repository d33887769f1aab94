"""Rows whose label window is open, and those that are settled (``mature``)."""

import torch
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.importance.ensemble import EnsembleLearner


class SettledLearner(EnsembleLearner):
    """An ensemble that learns the labels of settled rows alone."""

    def loss(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        """The mean over rows of the members' losses, 0 for open rows, summed over members."""
        settled = batch.extra["mature"] > 0
        logits = self.logits(batch)
        target = batch.label[:, None].expand_as(logits)
        seen = self.multiplicity(batch.sample_id)
        count = rows * self.ensemble.mean_multiplicity
        errors = self.errors(logits, target, count) * settled[:, None]
        share = ((seen * errors).sum() + self.also(batch, seen, settled)) / count
        # Rows that all members see are left out of the log loss; open ones are to be as well.
        out = torch.where(settled[:, None], seen, 1.0)
        return share, self._out_of_bag(logits.detach(), target, out, rows)

    def also(self, batch: Batch, seen: Tensor, settled: Tensor) -> Tensor:
        """What else is learnt of the rows, a sum over rows and members.

        Args:
            batch: the rows.
            seen: how often each member sees each of them, float32 [B, M].
            settled: bool [B].
        """
        return torch.zeros((), device=seen.device)


def check_delays(method: str, delays: int, outside: int) -> None:
    """Demands settled positives of which it is known when their label got, within its window.

    Args:
        method: that needs it.
        delays: how many such rows there are.
        outside: of these, those with a delay outside of [0, 1].

    Raises:
        TrainingError: there are none, or some with another delay.
    """
    if outside:
        raise TrainingError(
            f"'{method}' cannot use the delays",
            expected="shares of the label's window, in [0, 1]; null where no label came",
            got=f"other values for {outside} of {delays} settled positives",
            fix="divide the time from a sample to its label by the window; a label that came before "
            "its sample, or after the window, is none",
        )
    if not delays:
        raise TrainingError(
            f"'{method}' cannot tell how late labels come",
            expected="settled training rows with label 1 and the time at which it came",
            got="none: a label is a column of its own row, or has no window",
            fix="set sampling.label.where and window, or use self_training or mature_only",
        )


def check_windows(method: str, open_rows: int, settled_positives: int) -> None:
    """Demands rows with an open label window, and settled positives to learn from.

    Raises:
        TrainingError: there are none of them.
    """
    if not open_rows:
        raise TrainingError(
            f"'{method}' has no late labels to mend",
            expected="training rows whose label window is open at the cut, or without a label",
            got="none: all training rows are settled",
            fix="set splits to {by: time, open_windows: train} where labels come late, to "
            "{unlabelled: train} where some have none, or leave the method out",
        )
    if not settled_positives:
        raise TrainingError(
            f"'{method}' has no settled labels to learn from",
            expected="training rows with label 1 whose label window is over",
            got=f"none, and {open_rows} rows with an open one",
            fix="use a log that is longer than sampling.label.window, or a shorter window",
        )
