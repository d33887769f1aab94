"""Several executors give what one machine gives; each cluster is in processes of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from clusters import ROOT, TINY, StartCluster, run_line, submit
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from safetensors.torch import load_file

ARCHIVE = ROOT / "dist" / "reweight-env.tar.gz"

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def table(spark: SparkSession, root: Path, name: str) -> DataFrame:
    return spark.read.format("delta").load(f"{root}/tables/{name}")


def assert_same_tables(spark: SparkSession, expected: Path, came: Path) -> None:
    for name in ("events", "samples"):
        ours, theirs = table(spark, expected, name), table(spark, came, name)
        assert ours.count() > 1000
        assert ours.exceptAll(theirs).isEmpty(), name
        assert theirs.exceptAll(ours).isEmpty(), name
    keys = ["method", "sample_id"]
    ours, theirs = (table(spark, root, "weights") for root in (expected, came))
    both = ours.join(theirs.withColumnRenamed("importance", "other"), on=keys, how="full")
    apart = F.abs(F.col("importance") - F.col("other"))
    # A missing side is as far apart as can be.
    worst = both.agg(F.max(F.coalesce(apart, F.lit(float("inf"))))).first()
    assert worst is not None
    assert worst[0] < 1e-5


def models(root: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((root / "runs" / "demo" / "models").glob("*/*.safetensors"))
    return {path.parent.name: load_file(path) for path in files}


def packed_environment() -> dict[str, str]:
    """Settings for workers that unpack their Python from the archive."""
    if os.environ.get("REWEIGHT_PACKAGE") == "1":
        subprocess.run(["make", "package"], cwd=ROOT, check=True, timeout=1500)
    current = subprocess.run(["make", "-q", str(ARCHIVE.relative_to(ROOT))], cwd=ROOT, check=False)
    if current.returncode or not ARCHIVE.exists():
        pytest.skip("no archive of these sources in dist: make package, or REWEIGHT_PACKAGE=1")
    return {
        "spark.archives": f"{ARCHIVE}#environment",
        "spark.pyspark.python": "./environment/bin/python",
    }


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("packed", [False, True], ids=["from here", "from the archive"])
def test_a_standalone_cluster_gives_the_tables_of_one_machine(
    spark: SparkSession,
    on_one_machine: Path,
    start_cluster: StartCluster,
    tmp_path: Path,
    packed: bool,
) -> None:
    python = packed_environment() if packed else None
    cluster = start_cluster()
    root = run_line(tmp_path / "demo", "standalone.conf", cluster.master, python)
    assert_same_tables(spark, on_one_machine, root)
    executors = cluster.executors()
    assert {path.parts[-4] for path in executors} == {"worker-1", "worker-2"}
    unpacked = [(path.parent / "environment" / "bin" / "python").exists() for path in executors]
    assert unpacked == [packed] * len(executors)


def test_a_local_cluster_gives_the_tables_of_one_machine(
    spark: SparkSession, on_one_machine: Path, spark_home: Path, tmp_path: Path
) -> None:
    root = run_line(
        tmp_path / "demo", "standalone.conf", "local-cluster[2,1,1024]", home=spark_home
    )
    assert_same_tables(spark, on_one_machine, root)
    assert len(list(spark_home.glob("work/app-*/*"))) == 2


def test_each_rank_gets_a_gpu_of_its_worker(
    on_one_machine: Path, start_cluster: StartCluster, tmp_path: Path
) -> None:
    # A driver that claims one GPU: torch finds none, and the ranks train on their CPU.
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "nvidia-smi").write_text("#!/bin/sh\necho 0\n")
    (driver / "nvidia-smi").chmod(0o755)
    script = ROOT / "scripts" / "discover_gpus.sh"
    cluster = start_cluster(
        PATH=f"{driver}:{os.environ['PATH']}",
        SPARK_WORKER_OPTS="-Dspark.worker.resource.gpu.amount=1 "
        f"-Dspark.worker.resource.gpu.discoveryScript={script}",
    )
    conf = tmp_path / "gpu.conf"
    parts = [ROOT / "conf" / "spark" / name for name in ("standalone.conf", "gpu.conf")]
    conf.write_text("".join(part.read_text() for part in parts))
    root = tmp_path / "demo"
    shutil.copytree(on_one_machine, root)
    shutil.rmtree(root / "runs" / "demo" / "models")
    job = ("jobs/fit_importance.py", "conf/demo.yaml", f"root={root}", *TINY)
    submit(tmp_path / "submit", conf, cluster.master, *job, "fitting.use_gpu=true")

    said = [path.read_text() for path in cluster.executors()]
    assert len(said) == 2
    assert all("gpu -> [name: gpu, addresses: 0]" in text for text in said), said
    expected, came = models(on_one_machine), models(root)
    assert expected.keys() == came.keys() != set()
    for name, tensors in expected.items():
        for key, tensor in tensors.items():
            torch.testing.assert_close(came[name][key], tensor, rtol=0, atol=1e-6)
