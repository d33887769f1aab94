"""Rows with an open label window, and settled rows (``mature``)."""

import torch
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.importance.ensemble import EnsembleLearner


class SettledLearner(EnsembleLearner):
    """An ensemble that learns only from the labels of settled rows."""

    def loss(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        """The mean loss of each member over the rows, 0 for open rows, summed over members."""
        settled = batch.extra["mature"] > 0
        logits = self.logits(batch)
        target = batch.label[:, None].expand_as(logits)
        seen = self.multiplicity(batch.sample_id)
        count = rows * self.ensemble.mean_multiplicity
        errors = self.errors(logits, target, count) * settled[:, None]
        share = ((seen * errors).sum() + self.also(batch, seen, settled)) / count
        # The log loss leaves out rows that all members see; it should leave out open rows too.
        out = torch.where(settled[:, None], seen, 1.0)
        return share, self._out_of_bag(logits.detach(), target, out, rows)

    def also(self, batch: Batch, seen: Tensor, settled: Tensor) -> Tensor:
        """A further term of the loss, summed over rows and members; 0 by default.

        Args:
            batch: the rows.
            seen: how often each member sees each row, float32 [B, M].
            settled: which rows are settled, bool [B].
        """
        return torch.zeros((), device=seen.device)


def check_delays(method: str, delays: int, outside: int) -> None:
    """Checks that there are settled positives with a known delay, and that delays are valid.

    Args:
        method: the name of the method that needs delays.
        delays: number of settled positives with a known delay.
        outside: number of these whose delay is outside [0, 1].

    Raises:
        TrainingError: there are no such rows, or some have a delay outside [0, 1].
    """
    if outside:
        raise TrainingError(
            f"'{method}' cannot use the delays",
            expected="shares of the label window, in [0, 1]; null if no label arrived",
            got=f"other values for {outside} of {delays} settled positives",
            fix="divide the time from a sample to its label by the label window, and drop labels "
            "that arrived before their sample or after the window",
        )
    if not delays:
        raise TrainingError(
            f"'{method}' cannot learn how late labels arrive",
            expected="settled training rows with label 1 and a known arrival time",
            got="none: the label is a column of the sample itself, or has no label window",
            fix="set sampling.label.where and sampling.label.window, or use self_training or "
            "mature_only",
        )


def check_undone(method: str, undone: int, outside: int) -> None:
    """Checks that some settled label events were taken back, after times that are valid.

    Args:
        method: the name of the method that learns when.
        undone: number of settled rows whose label event was taken back at a known time.
        outside: number of these that were taken back before the label event or without one.

    Raises:
        TrainingError: there are no such rows, or some have such times.
    """
    if outside:
        raise TrainingError(
            f"'{method}' cannot use the times at which labels were taken back",
            expected="times after the label event, in the same unit; null if it was not taken back",
            got=f"other values for {outside} of {undone} rows",
            fix="give delay and undone in one unit: times since the sample",
        )
    if not undone:
        raise TrainingError(
            f"'{method}' cannot learn how labels are taken back",
            expected="settled training rows whose label event was taken back",
            got="none",
            fix="write training: {undo: false}, or use a log in which some are",
        )


def check_arrivals(method: str, arrivals: int, outside: int) -> None:
    """Checks that some labels have arrived after a known delay, and that delays are valid.

    Args:
        method: the name of the method that needs delays.
        arrivals: number of positives with a known delay and a known elapsed time.
        outside: number of these whose delay is below 0 or beyond their elapsed time.

    Raises:
        TrainingError: there are no such rows, or some have such a delay.
    """
    if outside:
        raise TrainingError(
            f"'{method}' cannot use the delays",
            expected="times from 0 to the elapsed time of the row; null if no label arrived",
            got=f"other values for {outside} of {arrivals} positives",
            fix="give delays and elapsed times in one unit, and train on the labels that had "
            "arrived when the elapsed time was taken",
        )
    if not arrivals:
        raise TrainingError(
            f"'{method}' cannot learn how late labels arrive",
            expected="training rows with label 1, a known arrival time and a known elapsed time",
            got="none",
            fix="set splits to {by: time, open_windows: train}, or leave the method out",
        )


def check_windows(method: str, open_rows: int, settled_positives: int) -> None:
    """Checks that there are rows with an open label window, and settled positives to learn from.

    Raises:
        TrainingError: one of the two is missing.
    """
    if not open_rows:
        raise TrainingError(
            f"'{method}' has no late labels to correct",
            expected="training rows whose label window is open at the cut, or that have no label",
            got="none: all training rows are settled",
            fix="set splits to {by: time, open_windows: train} if labels arrive late, or to "
            "{unlabelled: train} if some rows have none; otherwise leave the method out",
        )
    if not settled_positives:
        raise TrainingError(
            f"'{method}' has no settled labels to learn from",
            expected="training rows with label 1 whose label window has closed",
            got=f"none, and {open_rows} rows with an open window",
            fix="use a log that is longer than sampling.label.window, or shorten the window",
        )
