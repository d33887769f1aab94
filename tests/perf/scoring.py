"""Scoring end to end, samples in Delta to weights in Delta, against torch on rows in memory."""

from pathlib import Path

import torch
from tests.perf.measuring import Figure, by_turns, median_ratio, session
from tests.perf.synthetic import DIM, filled
from torch.multiprocessing import get_context

from reweight.batch import Batch
from reweight.importance import ImportanceMethod, TrainFacts, Uniform
from reweight.importance.importance_mlp import ImportanceMlp
from reweight.importance.stored import StoredModel
from reweight.run import run_stage
from reweight.stages import score_weights
from reweight.stages.fit_importance import MODELS

ROWS, BATCH = 2_000_000, 10_000
METHODS: tuple[ImportanceMethod, ...] = (
    Uniform(),
    ImportanceMlp.model_validate({"preset": "reference"}),
)


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """Rows a second of both, on two cores."""
    facts = TrainFacts(dim=DIM, rows=ROWS, positives=ROWS // 10)
    methods = "importance=[{method: importance_mlp, preset: reference}]"
    with session(work) as spark:
        run = filled(spark, work / "scoring", "scoring", ROWS, methods)
        for method in METHODS:
            stored = StoredModel.of(method, facts, method.build(facts))
            stored.write(run.folder / MODELS / method.name)
        seconds = by_turns(
            {
                "in memory": lambda: in_memory(facts),
                "to Delta": lambda: run_stage(run, score_weights),
            }
        )
    rates = {name: [round(ROWS / s) for s in own] for name, own in seconds.items()}
    value = median_ratio(seconds["in memory"], seconds["to Delta"])
    detail = {"rows": ROWS, "rows a second": rates}
    return [Figure("scoring to Delta / in-memory torch (rates)", value, ">= 0.8", detail)]


def in_memory(facts: TrainFacts) -> None:
    """Scores as many rows in two processes of one thread each, the faster of the two ways."""
    with get_context("spawn").Pool(2) as pool:
        pool.map(_score, [(facts, ROWS // 2)] * 2)


def _score(task: tuple[TrainFacts, int]) -> None:
    facts, rows = task
    torch.set_num_threads(1)
    model = METHODS[1].build(facts).eval()
    batch = Batch(
        sample_id=torch.arange(BATCH),
        features=torch.randn(BATCH, DIM),
        ids=torch.empty((BATCH, 0), dtype=torch.int64),
        label=torch.zeros(BATCH),
    )
    with torch.inference_mode():
        for _ in range(rows // BATCH):
            model(batch)
