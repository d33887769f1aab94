"""Checkpoints of a training: what an interrupted one is resumed from."""

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

from reweight.training.loop import Curves, Trainer

_LOG = logging.getLogger(__name__)


def save_checkpoint(
    path: Path, key: str, epoch: int, curves: Curves, trainers: Sequence[Trainer]
) -> None:
    """Writes a checkpoint whole, or not at all.

    Args:
        path: of the file.
        key: identity of rows, settings and code.
        epoch: number of epochs done.
        curves: what they measured.
        trainers: all of them.
    """
    state = {
        "key": key,
        "epoch": epoch,
        "curves": curves,
        "learners": [t.learner.state_dict() for t in trainers],
        "optimizers": [t.optimizer.state_dict() for t in trainers],
        "checkpoints": [t.checkpoints for t in trainers],
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def restore_checkpoint(
    path: Path, key: str, trainers: Sequence[Trainer]
) -> tuple[int, Curves | None]:
    """Resumes from a checkpoint of the same rows, settings and code.

    One that is of others, or that was cut short (a full or failing disk), is as good as none.

    Returns:
        The epochs that are done, and their curves.
    """
    if not path.exists():
        return 0, None
    if not zipfile.is_zipfile(path):
        _LOG.warning("the checkpoint %s is cut short: training starts over", path.name)
        return 0, None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["key"] != key:
        _LOG.info("the checkpoint %s is of other rows, settings or code: not used", path.name)
        return 0, None
    for trainer, learner, optimizer, checkpoints in zip(
        trainers, state["learners"], state["optimizers"], state["checkpoints"], strict=True
    ):
        trainer.learner.load_state_dict(learner)
        trainer.optimizer.load_state_dict(optimizer)
        trainer.checkpoints = checkpoints
    return state["epoch"], state["curves"]
