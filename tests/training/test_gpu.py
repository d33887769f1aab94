"""A rank on a GPU trains what a rank on the CPU trains, for each method that is trained."""

import json
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from union import MEMBERS, columns_of, facts_of, planted, small

from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.training.loop import Curves
from reweight.training.plan import FitPlan, Fitting
from reweight.training.rank import train_rank

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use"
)

# A product is made of the scores of others.
METHODS = tuple(
    method
    for member in MEMBERS
    if member.model_fields["method"].default != "product" and (method := small(member)).learns()
)
EXTRA = tuple(sorted(columns_of(METHODS)))
ROWS, _ = planted(extra=EXTRA)
NEW, _ = planted(64, seed=2, extra=EXTRA)


def write(batch: Batch, folder: Path) -> None:
    """A snapshot of four files."""
    folder.mkdir()
    for number in range(4):
        rows = batch.rows(torch.arange(number, len(batch), 4))
        table = pa.table(
            {
                "sample_id": pa.array(rows.sample_id.tolist(), pa.int64()),
                "features": pa.array(rows.features.tolist(), pa.list_(pa.float32())),
                "ids": pa.array(rows.ids.tolist(), pa.list_(pa.int32())),
                "label": pa.array(rows.label.tolist(), pa.float32()),
            }
            | {name: pa.array(rows.extra[name].tolist(), pa.float32()) for name in EXTRA}
        )
        pq.write_table(table, folder / f"part-{number}.parquet")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices") / "snapshot"
    write(ROWS, folder)
    return folder


def trained(method: ImportanceMethod, snapshot: Path, folder: Path, *, use_gpu: bool) -> Curves:
    """The loss curves; the model is in the folder."""
    folder.mkdir()
    fitting = Fitting(shards=4, batch_size=64, timeout=60, feed="arrow", use_gpu=use_gpu)
    plan = FitPlan(
        methods=(method,),  # type: ignore[arg-type]
        facts=facts_of(ROWS),
        extra=EXTRA,
        fitting=fitting,
        train=str(snapshot),
        validation=str(snapshot),
        folder=str(folder),
        key="k",
        seed=11,
    )
    train_rank(plan.model_dump_json(by_alias=True))
    curves: Curves = json.loads(plan.models.curves.read_text())
    return curves


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_model_that_a_gpu_trained_is_the_one_that_a_cpu_trains(
    method: ImportanceMethod, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    rank = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, value in (rank | {"MASTER_PORT": port}).items():
        monkeypatch.setenv(name, value)
    cpu = trained(method, snapshot, tmp_path / "cpu", use_gpu=False)
    gpu = trained(method, snapshot, tmp_path / "gpu", use_gpu=True)
    assert cpu.keys() == gpu.keys()
    for name, curve in cpu.items():
        for part in ("train", "validation"):
            wanted, got = ([entry[part] for entry in c] for c in (curve, gpu[name]))
            assert got == pytest.approx(wanted, rel=2e-3, abs=2e-4, nan_ok=True), part
    # Both are scored on the CPU, as executors do.
    models = [ModelArtifact.read(tmp_path / d / method.name).model() for d in ("cpu", "gpu")]
    with torch.inference_mode():
        one, other = (model(NEW) for model in models)
    torch.testing.assert_close(other, one, rtol=5e-3, atol=1e-3)
