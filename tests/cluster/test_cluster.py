"""Several executors give what one machine gives; each cluster is in processes of its own."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from clusters import StartCluster, run_line, submit
from pyspark.sql import SparkSession
from safetensors.torch import load_file

from pipelines import ROOT, TINY, Undisturbed, assert_same_tables, tables

ARCHIVE = ROOT / "dist" / "reweight-env.tar.gz"

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def assert_same_line(spark: SparkSession, root: Path, undisturbed: Undisturbed) -> None:
    came, expected = tables(spark, root), undisturbed.tables
    assert_same_tables(came, expected)
    apart = (came["weights"]["importance"] - expected["weights"]["importance"]).abs()
    assert apart.max() < 1e-5


def models(root: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((root / "runs" / "line" / "models").glob("*/*.safetensors"))
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
    undisturbed: Undisturbed,
    start_cluster: StartCluster,
    tmp_path: Path,
    packed: bool,
) -> None:
    python = packed_environment() if packed else None
    cluster = start_cluster()
    root = run_line(tmp_path / "line", "standalone.conf", cluster.master, python)
    assert_same_line(spark, root, undisturbed)
    executors = cluster.executors()
    assert {path.parts[-4] for path in executors} == {"worker-1", "worker-2"}
    unpacked = [(path.parent / "environment" / "bin" / "python").exists() for path in executors]
    assert unpacked == [packed] * len(executors)


def test_a_local_cluster_gives_the_tables_of_one_machine(
    spark: SparkSession, undisturbed: Undisturbed, spark_home: Path, tmp_path: Path
) -> None:
    root = run_line(
        tmp_path / "line", "standalone.conf", "local-cluster[2,1,1024]", home=spark_home
    )
    assert_same_line(spark, root, undisturbed)
    assert len(list(spark_home.glob("work/app-*/*"))) == 2


def test_each_rank_gets_a_gpu_of_its_worker(
    undisturbed: Undisturbed, start_cluster: StartCluster, tmp_path: Path
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
    root = tmp_path / "line"
    undisturbed.before_training(root)
    job = ("jobs/fit_importance.py", "tests/shop.yaml", f"root={root}", *TINY)
    submit(tmp_path / "submit", conf, cluster.master, *job, "fitting.use_gpu=true")

    said = [path.read_text() for path in cluster.executors()]
    assert len(said) == 2
    assert all("gpu -> [name: gpu, addresses: 0]" in text for text in said), said
    expected, came = models(undisturbed.root), models(root)
    assert expected.keys() == came.keys() != set()
    for name, tensors in expected.items():
        for key, tensor in tensors.items():
            torch.testing.assert_close(came[name][key], tensor, rtol=0, atol=1e-6)
