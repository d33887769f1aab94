"""The models of all methods, from what was trained."""

from collections.abc import Sequence

import torch
import torch.distributed as dist

from reweight.core.left_out import Refusals, without
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.batch import Feed
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import Learner, TrainFacts
from reweight.training.loop import Curves, Trainer


def fitted(
    methods: Sequence[ImportanceMethod],
    trainers: Sequence[Trainer],
    facts: TrainFacts,
    train: Feed,
    validation: Feed,
    curves: Curves,
    device: torch.device,
    refusals: Refusals | None = None,
) -> dict[str, ModelArtifact]:
    """Builds the models of all methods from what was trained.

    Models of one training share its learners. Models that need further passes over the rows make
    them together.

    Args:
        methods: all methods, including those that train nothing.
        trainers: after ``fit``.
        facts: of the training rows.
        train: this rank's training batches.
        validation: this rank's validation batches.
        curves: from ``fit``; they decide which epochs a method reads.
        device: of the batches.
        refusals: those of ``fit``; receives the methods that refuse what they see after training.

    Returns:
        The fitted models by method name.
    """
    refusals = refusals or Refusals()
    methods = without(methods, refusals.errors)
    models = {m.name: m.build(facts) for m in methods if m.learns() is None}
    for trainer in trainers:
        learners: dict[int, Learner] = {}
        for method in without(trainer.methods, refusals.errors):
            epochs = trainer.wanted(method, curves[trainer.name])
            model = models[method.name] = method.build(facts, epochs)
            for epoch in epochs:
                if epoch not in learners:
                    learners[epoch] = trainer.at(epoch, facts)
                model.learners[str(epoch)] = learners[epoch]
    for model in models.values():
        model.to(device).eval()
    _look_again([(m, models[m.name]) for m in methods], train, validation, refusals)
    kept = without(methods, refusals.errors)
    return {m.name: ModelArtifact.of(m, facts, models[m.name]) for m in kept}


@torch.no_grad()
def _look_again(
    models: Sequence[tuple[ImportanceMethod, ImportanceModel]],
    train: Feed,
    validation: Feed,
    refusals: Refusals,
) -> None:
    """Makes the passes after training, for the models that need them."""
    for number in range(max((method.passes for method, _ in models), default=0)):
        unfinished = [
            (method, model)
            for method, model in models
            if method.passes > number and not model.done and method.name not in refusals.errors
        ]
        if not unfinished:
            return
        # Validation rows are the same in every pass, so one pass is enough.
        feeds = {"train": train} | ({} if number else {"validation": validation})
        for split, feed in feeds.items():
            # Always epoch 0: an iterative solution needs the same rows in every pass.
            for batch in feed(0):
                outputs = EnsembleOutputs(batch)
                for _, model in unfinished:
                    model.observe(outputs, split)
        for method, model in unfinished:
            for total in model.sums() if dist.is_initialized() else ():
                dist.all_reduce(total)
            with refusals.about(method.name):
                model.finish(number)
