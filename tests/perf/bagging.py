"""A thousand linear members that train together against one member at a time, both fed."""

from functools import partial
from pathlib import Path

import torch
from tests.perf.measuring import Figure, by_turns, median_ratio, session
from tests.perf.synthetic import DIM, samples
from torch.multiprocessing import get_context

from reweight.feed import SnapshotFeed
from reweight.fitting import Trainer, fit
from reweight.importance import TrainFacts
from reweight.importance.data_oob import BaggedTraining, DataOob
from reweight.importance.ensemble import EnsembleTraining
from reweight.importance.self_confidence import SelfConfidence
from reweight.snapshot import write_snapshot

ROWS, BATCH, SHARDS, MEMBERS = 100_000, 4096, 4, 1000
FACTS = TrainFacts(dim=DIM, rows=ROWS, positives=ROWS // 10)
TOGETHER = DataOob(training=BaggedTraining(members=MEMBERS, epochs=1))
ALONE = SelfConfidence(
    training=EnsembleTraining(members=1, membership="all", hidden=(), bins=0, epochs=1)
)


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """Members x rows a second of an epoch, one thread each."""
    folder = work / "bagging"
    with session(work) as spark:
        rows = samples(spark, ROWS)
        write_snapshot(rows, folder / "train", rows=ROWS, shards=SHARDS, with_ids=False, key="perf")
    things = {"together": TOGETHER, "one at a time": ALONE}
    with get_context("spawn").Pool(1) as pool:
        pool.apply(_epoch, (ALONE, folder))
        seconds = by_turns(
            {name: partial(pool.apply, _epoch, (method, folder)) for name, method in things.items()}
        )
    members = {"together": MEMBERS, "one at a time": 1}
    rates = {name: [round(members[name] * ROWS / s) for s in own] for name, own in seconds.items()}
    return [
        Figure(
            f"{MEMBERS} linear members together / one at a time (member-rows a second)",
            MEMBERS * median_ratio(seconds["one at a time"], seconds["together"]),
            ">= 50",
            {"rows": ROWS, "features": DIM, "batch": BATCH, "member-rows a second": rates},
        )
    ]


def _epoch(method: DataOob | SelfConfidence, folder: Path) -> None:
    torch.set_num_threads(1)
    feed = SnapshotFeed(str(folder / "train"), batch_size=BATCH, shards=SHARDS)
    trainer = Trainer.of([method], FACTS, torch.device("cpu"))
    fit([trainer], feed, lambda epoch: iter(()))
