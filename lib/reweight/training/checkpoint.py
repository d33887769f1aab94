"""Checkpoints of a training, from which an interrupted one resumes."""

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

from reweight.training.loop import Curves, Trainer
from reweight.training.refused import error_of, fields_of

_LOG = logging.getLogger(__name__)


def save_checkpoint(
    path: Path, key: str, epoch: int, curves: Curves, trainers: Sequence[Trainer]
) -> None:
    """Writes a checkpoint atomically.

    Args:
        path: of the file.
        key: identity of rows, settings and code.
        epoch: number of completed epochs.
        curves: the loss curves of these epochs.
        trainers: all trainers of the run.
    """
    state = {
        "key": key,
        "epoch": epoch,
        "curves": curves,
        "learners": [t.learner.state_dict() for t in trainers],
        "updates": [t.update.state_dict() for t in trainers],
        "optimizers": [t.optimizer.state_dict() for t in trainers],
        "checkpoints": [t.checkpoints for t in trainers],
        "errors": [fields_of(t.error) if t.error else None for t in trainers],
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def restore_checkpoint(
    path: Path, key: str, trainers: Sequence[Trainer]
) -> tuple[int, Curves | None]:
    """Restores trainers from a checkpoint of the same rows, settings and code.

    A checkpoint of anything else, or a truncated one (a full or failing disk), is ignored.

    Returns:
        The number of completed epochs, and their loss curves, if any.
    """
    if not path.exists():
        return 0, None
    if not zipfile.is_zipfile(path):
        _LOG.warning("the checkpoint %s is truncated: training starts over", path.name)
        return 0, None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["key"] != key:
        _LOG.info("the checkpoint %s is from other rows, settings or code: ignored", path.name)
        return 0, None
    names = ("learners", "updates", "optimizers", "checkpoints", "errors")
    parts = zip(trainers, *(state[name] for name in names), strict=True)
    for trainer, learner, update, optimizer, checkpoints, error in parts:
        trainer.learner.load_state_dict(learner)
        trainer.update.load_state_dict(update)
        trainer.optimizer.load_state_dict(optimizer)
        trainer.checkpoints = checkpoints
        trainer.error = error_of(error) if error else None
    return state["epoch"], state["curves"]
