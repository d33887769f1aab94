"""Training fed by Petastorm and by Arrow against training on the same batches in memory."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tests.perf.measuring import Figure, median_ratio, session
from tests.perf.synthetic import DIM, filled
from torch.multiprocessing import get_context

from reweight.config import Run
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.launch import launch
from reweight.fit_importance.snapshot import write_snapshot
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.training import TrainFacts
from reweight.training.feed import SnapshotFeed
from reweight.training.loop import fit, trainers_of
from reweight.training.plan import FitPlan, Fitting
from reweight.training.readers import Reading

READING: tuple[Reading, ...] = ("petastorm", "arrow")
ROWS, BATCH, EPOCHS, SHARDS = 400_000, 4096, 4, 4
METHOD = ImportanceMlp.model_validate({"preset": "reference", "training": {"epochs": EPOCHS}})
FACTS = TrainFacts(dim=DIM, rows=ROWS, positives=ROWS // 10)
FITTING = Fitting(shards=SHARDS, batch_size=BATCH, validation_rows=10_000)


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """Seconds of an epoch, the first one left out; 1 and 2 ranks of one thread each."""
    found: dict[str, list[float]] = {}
    folder = work / "training"
    with session(work) as spark:
        run = filled(spark, folder, "training", ROWS)
        rows = spark.read.format("delta").load(str(folder / "tables" / "samples"))
        for name, part in (("train", rows), ("validation", rows.where("sample_id % 40 = 0"))):
            write_snapshot(
                part, folder / name, rows=ROWS, shards=SHARDS, with_ids=False, key="perf"
            )
        for _ in range(3):
            for ranks in (1, 2):
                for reader in READING:
                    found.setdefault(f"{reader}, {ranks}", []).append(
                        _fed(run, folder, {"ranks": ranks, "feed": reader})
                    )
                found.setdefault(f"in memory, {ranks}", []).append(in_memory(folder, ranks))
    return [
        Figure(
            f"fed by {reader} / in-memory training, {ranks} rank{'s' if ranks > 1 else ''} (rates)",
            median_ratio(found[f"in memory, {ranks}"], found[f"{reader}, {ranks}"]),
            ">= 0.8",
            {
                "rows": ROWS,
                "seconds of an epoch": {
                    name: [round(s, 2) for s in own]
                    for name, own in found.items()
                    if name.endswith(str(ranks))
                },
            },
        )
        for reader in READING
        for ranks in (1, 2)
    ]


def _fed(run: Run, folder: Path, fitting: dict[str, Any]) -> float:
    """Seconds of an epoch."""
    plan = FitPlan(
        methods=(METHOD,),
        facts=FACTS,
        fitting=FITTING.model_copy(update=fitting),
        train=str(folder / "train"),
        validation=str(folder / "validation"),
        folder=str(folder / "fit"),
        key="perf",
        seed=0,
    )
    shutil.rmtree(folder / "fit", ignore_errors=True)
    launch(FitJob.of(run), plan)
    curves = json.loads((folder / "fit" / "curves.json").read_text())
    return _epoch(curves[METHOD.name])


def in_memory(folder: Path, ranks: int) -> float:
    """Seconds of an epoch on batches that lie in memory; ranks exchange gradients all the same."""
    (folder / "group").unlink(missing_ok=True)
    with get_context("spawn").Pool(ranks) as pool:
        return max(pool.map(_train, [(str(folder), rank, ranks) for rank in range(ranks)]))


def _train(task: tuple[str, int, int]) -> float:
    folder, rank, world = task
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=world)
    feeds = {
        name: SnapshotFeed(
            f"{folder}/{name}", batch_size=BATCH, shards=SHARDS, rank=rank, world=world
        )
        for name in ("train", "validation")
    }
    train, validation = (list(feeds[name](0)) for name in ("train", "validation"))
    trainers = trainers_of((METHOD,), FACTS, torch.device("cpu"))
    curves = fit(trainers, lambda epoch: iter(train), lambda epoch: iter(validation))
    dist.destroy_process_group()
    return _epoch(curves[METHOD.name])


def _epoch(curve: list[dict[str, float]]) -> float:
    later = sorted(entry["seconds"] for entry in curve[1:])
    return later[len(later) // 2]
