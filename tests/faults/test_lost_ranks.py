"""Ranks that die, hang or raise while they train."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines import (
    CLUSTER,
    Undisturbed,
    finish,
    record,
    shared_folder,
    start,
    wait_for,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

# Long enough to be disturbed.
EPOCHS = 30
LONG = (
    f"importance=[{{method: random}}, {{method: importance_mlp, training: {{epochs: {EPOCHS}}}}}]"
)


@pytest.fixture
def root(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    """A line that is about to train."""
    root = tmp_path / "root"
    undisturbed.before_training(root)
    return root


@pytest.fixture(scope="session")
def straight(
    undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> list[dict[str, float]]:
    """The loss curve of a long training that nobody disturbed."""
    with shared_folder(tmp_path_factory.getbasetemp(), worker_id, "straight") as (folder, first):
        root = folder / "root"
        if first:
            undisturbed.before_training(root)
            finish(start(root, LONG, job="fit_importance"))
    return curve(root)


def curve(root: Path) -> list[dict[str, float]]:
    path = root / "runs" / "line" / "models" / "curves.json"
    found: list[dict[str, float]] = json.loads(path.read_text())["importance_mlp_robust"]
    return found


def rank_after_epoch(root: Path, rank: int, epoch: int) -> dict[str, Any] | None:
    """The last sign of a rank that is past an epoch."""
    path = root / "runs" / "line" / "models" / "ranks" / f"{rank}.json"
    sign: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"epoch": 0}
    return sign if sign["epoch"] > epoch else None


def assert_same_curve(root: Path, straight: list[dict[str, float]]) -> None:
    came = curve(root)
    assert [e["epoch"] for e in came] == list(range(1, EPOCHS + 1))
    for part in ("train", "validation"):
        assert [e[part] for e in came] == pytest.approx([e[part] for e in straight], rel=1e-4)


def test_a_rank_that_dies_is_replaced_from_the_last_checkpoint(
    root: Path, straight: list[dict[str, float]]
) -> None:
    process = start(root, LONG, job="fit_importance")
    sign = wait_for(lambda: rank_after_epoch(root, 1, 3))
    os.kill(sign["pid"], signal.SIGKILL)
    said = finish(process)
    assert "resuming from the last checkpoint" in said
    assert len(record(root, "fit_importance")["summary"]["resumed after"]) == 1
    assert_same_curve(root, straight)


@pytest.mark.parametrize("above", ["CoarseGrainedExecutorBackend", "pyspark.daemon"])
def test_a_rank_whose_executor_or_python_worker_dies_is_replaced_too(
    root: Path, straight: list[dict[str, float]], spark_home: Path, above: str
) -> None:
    process = start(root, LONG, job="fit_importance", spark=CLUSTER, home=spark_home)
    sign = wait_for(lambda: rank_after_epoch(root, 1, 3))
    parents = psutil.Process(sign["pid"]).parents()
    next(p for p in parents if above in " ".join(p.cmdline())).kill()
    said = finish(process)
    assert "resuming from the last checkpoint" in said
    assert len(record(root, "fit_importance")["summary"]["resumed after"]) == 1
    assert_same_curve(root, straight)


def test_a_rank_that_hangs_is_named_and_the_training_ended_in_time(
    root: Path, straight: list[dict[str, float]]
) -> None:
    process = start(
        root, LONG, "fitting.timeout=15 seconds", "fitting.retries=0", job="fit_importance"
    )
    sign = wait_for(lambda: rank_after_epoch(root, 1, 3))
    os.kill(sign["pid"], signal.SIGSTOP)
    try:
        said = finish(process, status=2, timeout=150)
    finally:
        os.kill(sign["pid"], signal.SIGKILL)
    assert "training hung: rank 1 is furthest behind" in said
    assert "fitting.timeout" in said
    assert record(root, "fit_importance")["status"] == "failed"
    assert "rank 1" in record(root, "fit_importance")["error"]
    # With the patience of before it is another plan: its key is of the settings that matter.
    finish(start(root, LONG, job="fit_importance"))
    assert [e["status"] for e in record(root, "fit_importance")["earlier"]] == ["failed"]
    assert_same_curve(root, straight)


def test_a_rank_that_raises_shows_its_own_error_and_the_training_can_be_taken_up(
    root: Path, straight: list[dict[str, float]]
) -> None:
    process = start(root, LONG, "fitting.retries=1", job="fit_importance")
    wait_for(lambda: rank_after_epoch(root, 0, 3))
    for path in (root / "runs" / "line" / "snapshot" / "train").glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:100])
    said = finish(process, status=2)
    # One that breaks while it is read is tried again, one that is found broken is not.
    assert "training failed on rank-0" in said
    errors = root / "runs" / "line" / "models" / "errors"
    assert "Traceback" in (errors / "rank-0.txt").read_text()
    # Files that are not as they were written are written again.
    finish(start(root, LONG, job="fit_importance"))
    assert_same_curve(root, straight)
