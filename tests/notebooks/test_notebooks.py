"""Every notebook, run as plain Python from its first cell to its last."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest
from pyspark.sql import SparkSession

import reweight
from pipelines import SPARK

pytestmark = pytest.mark.usefixtures("starts_processes")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.py"))
FIRST = "quick_start.py"
KINDS = ("markdown", "code")
SMALL = {
    "REWEIGHT_NOTEBOOK_ROWS": "1500",
    "REWEIGHT_NOTEBOOK_SESSIONS": "400",
    "PYTHONWARNINGS": "ignore",
}
# What every run of a notebook is given besides: its cells are tested, and not its numbers.
QUICK = ("ranking.max_iter=5", "evaluation.replicates=100", "evaluation.buckets=40")
DEMO = (*QUICK, "features.history={}")
OVERRIDES = {
    FIRST: (*DEMO, "importance.1.training.epochs=3", f"spark={json.dumps(SPARK)}"),
    "compare_methods.py": (*DEMO, *[f"importance.{i}.training.epochs=3" for i in (2, 3, 4)]),
    "every_day.py": DEMO,
    "your_own_log.py": (*QUICK, "importance.1.training.epochs=3"),
}
OF_ITS_OWN = """
import runpy, sys
import reweight

whole, path, overrides = reweight.run, sys.argv[1], sys.argv[2:]
reweight.run = lambda config, *given: whole(config, *given, *overrides)
runpy.run_path(path, run_name="__main__")
"""


def test_the_docs_list_every_notebook() -> None:
    page = (ROOT / "docs/notebooks.md").read_text()
    listed = re.findall(r"^\| `(\w+\.py)` \|", page, re.MULTILINE)
    assert len(NOTEBOOKS) > 4
    assert sorted(listed) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_valid_for_databricks_and_python(name: str) -> None:
    source = (ROOT / "notebooks" / name).read_text()
    assert source.startswith("# Databricks notebook source\n# MAGIC %md\n")
    cells = source.split("\n# COMMAND ----------\n")
    assert len(cells) > 3
    for cell in cells:
        compile(cell, name, "exec")
        # A cell holds either text or code.
        lines = [line for line in cell.splitlines() if line.strip()]
        is_text = {line.startswith("# MAGIC") for line in lines if "notebook source" not in line}
        assert len(is_text) == 1, cell


def test_a_jupyter_notebook_has_the_same_cells(tmp_path: Path) -> None:
    sources = [str(ROOT / "notebooks" / name) for name in NOTEBOOKS]
    subprocess.run([sys.executable, ROOT / "scripts/ipynb.py", tmp_path, *sources], check=True)
    for name in NOTEBOOKS:
        source = (ROOT / "notebooks" / name).read_text()
        cells = json.loads((tmp_path / name).with_suffix(".ipynb").read_text())["cells"]
        assert len(cells) == len(source.split("# COMMAND ----------"))
        assert cells[0]["cell_type"] == "markdown"
        assert cells[0]["source"].startswith("# ")
        kinds = {kind: [c["source"] for c in cells if c["cell_type"] == kind] for kind in KINDS}
        assert sum(map(len, kinds.values())) == len(cells)
        assert not any("MAGIC" in c["source"] or "COMMAND" in c["source"] for c in cells)
        assert all(code in source for code in kinds["code"])


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ranks_here")
@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name != FIRST])
def test_a_notebook_runs_in_an_existing_session(
    spark: SparkSession, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    whole, overrides = reweight.run, OVERRIDES.get(name, ())
    monkeypatch.setattr(
        reweight, "run", lambda config, *given, **more: whole(config, *given, *overrides, **more)
    )
    for key, value in (SMALL | {"REWEIGHT_NOTEBOOK_ROOT": str(tmp_path / "root")}).items():
        monkeypatch.setenv(key, value)
    try:
        run_path(f"notebooks/{name}")
        assert spark.range(2).count() == 2
    finally:
        spark.catalog.clearCache()


@pytest.mark.timeout(900)
def test_the_first_notebook_starts_its_own_session(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OF_ITS_OWN, f"notebooks/{FIRST}", *OVERRIDES[FIRST]],
        cwd=ROOT,
        env=os.environ | SMALL | {"REWEIGHT_NOTEBOOK_ROOT": str(tmp_path / "root")},
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
