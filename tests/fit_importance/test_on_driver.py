"""Training in a process on the driver: the numbers of one rank, its failures, and its limit."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from pyspark.sql import SparkSession

from reweight.core.errors import RankError, TrainingError
from reweight.core.sequences import SequenceShape
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.launch import launch
from reweight.fit_importance.on_driver import DRIVER_LIMIT, fits_driver, on_driver
from reweight.importance.artifact import ModelArtifact
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.training import TrainFacts
from reweight.training.plan import FitPlan, Fitting
from reweight.training.rank import train_rank

METHOD = ImportanceMlp.model_validate({"training": {"hidden": (8,), "epochs": 3}})
FACTS = TrainFacts(dim=3, rows=160, positives=60)
ROW = 12 + 8 * 1 + 4 * (100 + 2)
TOO_MANY = TrainFacts(dim=100, cardinalities=(9,), rows=DRIVER_LIMIT // ROW + 1, positives=1)
# A driver needs no session to train on.
NO_SESSION = cast(FitJob, None)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshot")
    rng = np.random.default_rng(3)
    for number in range(2):
        features = rng.normal(size=(80, 3)).astype(np.float32)
        columns = {
            "sample_id": np.arange(80) + 80 * number,
            "features": list(features),
            "label": (features[:, 0] > 0.3).astype(np.float32),
        }
        pq.write_table(pa.table(columns), folder / f"part-{number}.parquet")
    return folder


def plan_of(snapshot: Path, folder: Path) -> FitPlan:
    return FitPlan(
        methods=(METHOD,),
        facts=FACTS,
        fitting=Fitting(where="driver", shards=2, batch_size=32, timeout=60),
        train=str(snapshot),
        validation=str(snapshot),
        folder=str(folder),
        key="k",
        seed=5,
    )


@pytest.mark.usefixtures("starts_processes")
def test_the_driver_trains_what_one_rank_trains(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(NO_SESSION, plan_of(snapshot, tmp_path / "driver"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    for name, value in (place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}).items():
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    plan = plan_of(snapshot, tmp_path / "rank")
    plan.models.path.mkdir()
    train_rank(plan.model_dump_json(by_alias=True))
    torch.set_num_threads(threads)
    driver, rank = (
        ModelArtifact.read(tmp_path / place / METHOD.name).tensors for place in ("driver", "rank")
    )
    assert driver == rank
    assert not any((tmp_path / "driver" / "ranks").glob("*"))


@pytest.mark.usefixtures("starts_processes")
def test_a_process_that_fails_or_is_ended_is_explained(snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as error:
        launch(NO_SESSION, plan_of(tmp_path / "none", tmp_path / "failed"))
    assert error.value.what == "training failed on rank-0"
    assert "too few row groups" in error.value.got
    with on_driver(plan_of(snapshot, tmp_path / "ended")) as (train, cancel):
        cancel()
        with pytest.raises((ChildProcessError, BrokenPipeError)):
            train()
    assert not isinstance(error.value, RankError)


def job_of(spark: Any, **fitting: Any) -> FitJob:
    return FitJob(spark, 0, Fitting(**fitting), (), (), Path("unused"))


def test_the_driver_trains_on_a_limited_number_of_rows() -> None:
    assert fits_driver(job_of(None, where="driver"), FACTS, extra=2)
    with pytest.raises(TrainingError) as error:
        fits_driver(job_of(None, where="driver"), TOO_MANY, extra=2)
    assert error.value.expected.startswith("at most 4 GiB of training rows")
    assert error.value.got == f"{TOO_MANY.rows:,} rows of {ROW} bytes: 4.0 GiB"
    assert "fitting: {where: executors}" in error.value.fix


def test_sequences_count_where_they_are_read() -> None:
    shape = SequenceShape(length=50, fields={"item": 9, "action": 3})
    rows = DRIVER_LIMIT // ROW
    long = TOO_MANY.model_copy(update={"rows": rows, "sequence": shape})
    job = job_of(None, where="driver")
    assert fits_driver(job, long, extra=2)
    with pytest.raises(TrainingError, match=f"rows of {ROW + 50 * (8 * 2 + 4)} bytes"):
        fits_driver(job, long, extra=2, with_sequence=True)


def test_a_single_rank_of_a_local_session_trains_on_the_driver(spark: SparkSession) -> None:
    assert fits_driver(job_of(spark), FACTS, extra=2)
    assert not fits_driver(job_of(spark), TOO_MANY, extra=2)
    for others in ({"ranks": 2}, {"use_gpu": True}, {"where": "executors"}):
        assert not fits_driver(job_of(spark, **others), FACTS, extra=2)


@pytest.mark.parametrize("place", ["local-cluster[2,1,1024]", "spark://host:7077", "yarn"])
def test_executors_elsewhere_train_themselves(place: str) -> None:
    elsewhere = SimpleNamespace(sparkContext=SimpleNamespace(master=place))
    assert not fits_driver(job_of(elsewhere), FACTS, extra=2)


def test_the_driver_has_one_rank() -> None:
    with pytest.raises(ValidationError, match="ranks: 1 with where: driver; got ranks=2"):
        Fitting(where="driver", ranks=2)
    # Where it trained is no reason to train again.
    assert Fitting(where="driver").identity() == Fitting().identity()
