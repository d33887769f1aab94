"""The whole line at several sizes: the exponent of each stage's time, and peak memory."""

import math
import shutil
from pathlib import Path

from tests.perf.measuring import Figure, run_job, stage_seconds
from tests.perf.synthetic import CONFIG

from reweight.core.run_folder import RunFolder, read_records

# What Delta's commits and the start of ranks cost whatever the size: measured at a tiny one.
TINY = 1_000


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """Exponents between the two largest sizes, the fixed cost taken off."""
    root = work / "growth"
    shutil.rmtree(root, ignore_errors=True)
    seconds: dict[int, dict[str, float]] = {}
    memory: dict[int, dict[str, float]] = {}
    for size in (TINY, *sizes):
        memory[size] = run_job("pipeline", CONFIG, *overrides(root / str(size), size))
        seconds[size] = stage_seconds(root / str(size), "growth")
        if size == sizes[0]:
            again = changed(root / str(size), size)
        shutil.rmtree(root / str(size) / "tables", ignore_errors=True)
        print(f"  {size} samples: {seconds[size]}, MB: {memory[size]}", flush=True)
    figures = []
    for stage in seconds[TINY]:
        own = {size: seconds[size][stage] for size in (TINY, *sizes)}
        figures.append(
            Figure(
                f"growth of {stage} (exponent)",
                exponent(own, sizes),
                "<= 1.05",
                {"seconds": {str(k): v for k, v in own.items()}},
            )
        )
    kind = "driver (Python)"
    ratio = memory[sizes[-1]][kind] / memory[sizes[0]][kind]
    return [
        *figures,
        Figure(
            f"only `weighting` changed / the whole run, {sizes[0]} samples (time of the stages)",
            sum(again.values()) / sum(seconds[sizes[0]].values()),
            "<= 0.3",
            {"seconds": again},
        ),
        Figure(f"memory of the driver, {sizes[-1]} / {sizes[0]}", ratio, "<= 1.1", {"MB": memory}),
        Figure(
            "overhead of a tiny run (seconds beyond Spark's start)",
            sum(seconds[TINY].values()),
            "<= 60",
            {"seconds": seconds[TINY]},
        ),
    ]


def changed(root: Path, size: int) -> dict[str, float]:
    """Seconds of the stages that run again after a change of the weight policy."""
    run_job("pipeline", CONFIG, *overrides(root, size), "weighting.temper=0.5", force=False)
    records = read_records(RunFolder.of(root, "growth"))
    return {stage: r["seconds"] for stage, r in records.items() if not r.get("kept")}


def exponent(seconds: dict[int, float], sizes: tuple[int, ...]) -> float:
    """The slope of log time over log size, between the two largest.

    At smaller ones most of the time is the fixed cost, and the rest is noise.
    """
    fixed = seconds[TINY]
    small, large = (max(seconds[size] - fixed, 0.05) for size in sizes[-2:])
    return math.log(large / small) / math.log(sizes[-1] / sizes[-2])


def overrides(root: Path, size: int) -> tuple[str, ...]:
    return (
        f"root={root}",
        "run_id=growth",
        f"simulation.sessions={size // 10}",
        f"simulation.users={max(300, size // 30)}",
        "importance=[{method: random}, {method: importance_mlp, training: {epochs: 2}}]",
        "ranking.max_iter=20",
        "ranking.recalibrate=[]",
        "weighting.ess_refuse=0",
        "evaluation.replicates=200",
    )
