"""Training in one process on rows in memory, without a snapshot."""

from collections.abc import Iterator, Sequence

import torch

from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.training import TrainFacts
from reweight.training.loop import Curves, fit, trainers_of
from reweight.training.models import fitted
from reweight.training.warm_start import StartingModels


def fit_in_memory(
    methods: Sequence[ImportanceMethod],
    facts: TrainFacts,
    train: Batch,
    validation: Batch,
    *,
    batch_size: int,
    start: StartingModels | None = None,
) -> tuple[dict[str, ModelArtifact], Curves]:
    """Fits methods in this process on rows in memory: for small tables and tests.

    Args:
        methods: the methods to fit.
        facts: of the training rows.
        train: all training rows.
        validation: all validation rows.
        batch_size: rows per step.
        start: fitted models whose parameters the trainings take over; None for new ones.

    Returns:
        The fitted models by method name, and the loss curves.
    """

    def train_feed(epoch: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed((facts.seed << 16) + epoch)
        order = torch.randperm(len(train), generator=generator)
        for start in range(0, len(train), batch_size):
            yield train.rows(order[start : start + batch_size])

    def validation_feed(epoch: int) -> Iterator[Batch]:
        for start in range(0, len(validation), batch_size):
            yield validation.rows(torch.arange(start, min(start + batch_size, len(validation))))

    device = torch.device("cpu")
    trainers = trainers_of(methods, facts, device, start)
    curves = fit(trainers, train_feed, validation_feed)
    models = fitted(methods, trainers, facts, train_feed, validation_feed, curves, device)
    return models, curves
