"""Scoring by methods that share a training: each against a plain forward, and many against one."""

from pathlib import Path

import torch
from tests.perf.measuring import Figure, by_turns, median_ratio
from tests.perf.synthetic import DIM
from torch.multiprocessing import get_context

from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.ensemble import EnsembleTraining
from reweight.importance.methods.aum import Aum
from reweight.importance.methods.data_maps import DataMaps
from reweight.importance.methods.el2n import El2n
from reweight.importance.methods.focal import Focal
from reweight.importance.methods.forgetting import Forgetting
from reweight.importance.methods.grand import Grand
from reweight.importance.methods.r_ce import RCe
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.small_loss import SmallLoss
from reweight.importance.methods.t_ce import TCe
from reweight.importance.training import Checkpoints, TrainFacts

ROWS, BATCH, EPOCHS = 40_960, 2048, 5
TRAINING = EnsembleTraining(members=16, epochs=EPOCHS)
FACTS = TrainFacts(dim=DIM, rows=1_000, positives=100, quantiles=((-2.0, -0.5, 0.5, 2.0),) * DIM)
# All at the same epochs, so that what they share is the same.
SHARED: tuple[ImportanceMethod, ...] = tuple(
    kind(training=TRAINING, keep=Checkpoints(which="spread", count=EPOCHS))
    for kind in (SelfConfidence, Aum, DataMaps, El2n, Focal, Forgetting, RCe, SmallLoss, TCe)
)


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """In a process of one thread."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure)


def _measure() -> list[Figure]:
    torch.set_num_threads(1)
    batch = batch_of(BATCH)
    learner = TRAINING.build(FACTS).eval()
    last = Checkpoints(which="last")
    single = {
        kind.model_fields["method"].default: scorer((kind(training=TRAINING, keep=last),))
        for kind in (SelfConfidence, El2n, Grand)
    }
    one, many = scorer(SHARED[:1]), scorer(SHARED)

    def plain() -> None:
        with torch.inference_mode():
            for _ in range(ROWS // BATCH):
                learner.logits(batch)

    def scoring(score: Scorer) -> None:
        for _ in range(ROWS // BATCH):
            score(batch)

    things = {"plain": plain} | {n: lambda s=s: scoring(s) for n, s in single.items()}
    seconds = by_turns(things | {"one": lambda: scoring(one), "many": lambda: scoring(many)})
    rates = {name: [round(ROWS / s) for s in own] for name, own in seconds.items()}
    return [
        *[
            Figure(
                f"{name} at one epoch / plain scoring (rates)",
                median_ratio(seconds["plain"], seconds[name]),
                ">= 0.6",
                {"rows a second": {k: rates[k] for k in ("plain", name)}},
            )
            for name in single
        ],
        Figure(
            f"{len(SHARED)} methods of one training / one of them (times)",
            median_ratio(seconds["many"], seconds["one"]),
            "",
            {"rows a second": {k: rates[k] for k in ("one", "many")}},
        ),
    ]


def scorer(methods: tuple[ImportanceMethod, ...]) -> Scorer:
    stored = {}
    for method in methods:
        epochs = method.checkpoint_choice().epochs(EPOCHS, {})
        stored[method.name] = ModelArtifact.of(method, FACTS, method.build(FACTS, epochs))
    return Scorer(stored)


def batch_of(rows: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        sample_id=torch.arange(rows),
        features=torch.randn((rows, DIM), generator=generator),
        ids=torch.empty((rows, 0), dtype=torch.int64),
        label=(torch.rand(rows, generator=generator) < 0.1).float(),
    )
