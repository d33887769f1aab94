"""A thousand linear members that train together against one at a time, and on a million rows."""

import os
import time
from functools import partial
from pathlib import Path

import torch
from tests.perf.measuring import Figure, by_turns, median_ratio, session
from tests.perf.synthetic import DIM, samples
from torch.multiprocessing import get_context

from reweight.fit_importance.snapshot import write_snapshot
from reweight.importance.ensemble import EnsembleTraining
from reweight.importance.methods.data_oob import BaggedTraining, DataOob
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.training import TrainFacts
from reweight.training.feed import SnapshotFeed
from reweight.training.loop import Trainer, fit

ROWS, BATCH, SHARDS, MEMBERS = 100_000, 4096, 4, 1000
MANY, PASSES = 1_000_000, 5
TOGETHER = DataOob(training=BaggedTraining(members=MEMBERS, epochs=1))
WHOLE = DataOob(training=BaggedTraining(members=MEMBERS, epochs=PASSES))
ALONE = SelfConfidence(
    training=EnsembleTraining(members=1, membership="all", hidden=(), bins=0, epochs=1)
)


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """Members x rows a second of an epoch, one thread each; and a whole training on all cores."""
    folder = work / "bagging"
    with session(work) as spark:
        for count in (ROWS, MANY):
            write_snapshot(
                samples(spark, count),
                folder / str(count),
                rows=count,
                shards=SHARDS,
                with_ids=False,
                key="perf",
            )
    things = {"together": TOGETHER, "one at a time": ALONE}
    with get_context("spawn").Pool(1) as pool:
        pool.apply(_train, (ALONE, folder, ROWS, 1))
        seconds = by_turns(
            {
                name: partial(pool.apply, _train, (method, folder, ROWS, 1))
                for name, method in things.items()
            }
        )
        began = time.monotonic()
        pool.apply(_train, (WHOLE, folder, MANY, os.cpu_count()))
        whole = time.monotonic() - began
    members = {"together": MEMBERS, "one at a time": 1}
    rates = {name: [round(members[name] * ROWS / s) for s in own] for name, own in seconds.items()}
    return [
        Figure(
            f"{MEMBERS} linear members together / one at a time (member-rows a second)",
            MEMBERS * median_ratio(seconds["one at a time"], seconds["together"]),
            ">= 50",
            {"rows": ROWS, "features": DIM, "batch": BATCH, "member-rows a second": rates},
        ),
        Figure(
            f"{PASSES} passes of {MEMBERS} linear members over a million rows (seconds)",
            whole,
            "<= 300",
            {"rows": MANY, "features": DIM, "batch": BATCH, "threads": os.cpu_count()},
        ),
    ]


def _train(method: DataOob | SelfConfidence, folder: Path, rows: int, threads: int) -> None:
    torch.set_num_threads(threads)
    feed = SnapshotFeed(str(folder / str(rows)), batch_size=BATCH, shards=SHARDS)
    facts = TrainFacts(dim=DIM, rows=rows, positives=rows // 10)
    fit([Trainer.of([method], facts, torch.device("cpu"))], feed, lambda epoch: iter(()))
