"""Scoring end to end, samples in Delta to weights in Delta, against torch on rows in memory."""

import shutil
from dataclasses import replace
from multiprocessing.pool import Pool
from pathlib import Path

import torch
from tests.perf.measuring import Figure, by_turns, median_ratio, session
from tests.perf.synthetic import DIM, filled
from torch.multiprocessing import get_context

from reweight.config import Run
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.uniform import Uniform
from reweight.importance.training import TrainFacts
from reweight.runner.records import run_stage
from reweight.score_weights.stage import score_weights

FACTS = TrainFacts(dim=DIM, rows=1_000, positives=100)
ROWS, BATCH = 4_000_000, 2_048
# The published network, and five of it: what a row costs to move is the same for both.
PRESETS = ("reference", "robust")


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """Rows a second of both, on two cores; processes are started and warm on either side."""
    with session(work) as spark, get_context("spawn").Pool(2) as pool:
        run = filled(spark, work / "scoring", "scoring", ROWS)
        pool.map(_score, [("reference", BATCH)] * 2)
        return [compared(run, preset, pool) for preset in PRESETS]


def compared(run: Run, preset: str, pool: Pool) -> Figure:
    """The stage with one network and `uniform` against the network alone."""
    method = network(preset)
    mine = replace(run, config=run.config.model_copy(update={"importance": (Uniform(), method)}))
    for one in mine.config.importance:
        stored = ModelArtifact.of(one, FACTS, one.build(FACTS))
        stored.write(run.folder.models.model(one.name))
        shutil.copyfile(run.folder.features, run.folder.models.features(one.name))
    seconds = by_turns(
        {
            "in memory": lambda: pool.map(_score, [(preset, ROWS // 2)] * 2),
            "to Delta": lambda: run_stage(mine, score_weights),
        }
    )
    rates = {name: [round(ROWS / s) for s in own] for name, own in seconds.items()}
    return Figure(
        f"scoring to Delta / in-memory torch, {preset} (rates)",
        median_ratio(seconds["in memory"], seconds["to Delta"]),
        ">= 0.8",
        {"rows": ROWS, "rows a second": rates},
    )


def network(preset: str) -> ImportanceMethod:
    return ImportanceMlp.model_validate({"preset": preset})


def _score(task: tuple[str, int]) -> None:
    preset, rows = task
    torch.set_num_threads(1)
    model = network(preset).build(FACTS).eval()
    batch = Batch(
        sample_id=torch.arange(BATCH),
        features=torch.randn(BATCH, DIM),
        ids=torch.empty((BATCH, 0), dtype=torch.int64),
        label=torch.zeros(BATCH),
    )
    with torch.inference_mode():
        for _ in range(rows // BATCH):
            model(batch)
