"""A client of a real server of Spark Connect gets what a classic session gets."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines import FLOATS, ROOT, SPARK, TABLES, assert_same_tables

pytestmark = [
    pytest.mark.connect,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(find_spec("grpc") is None, reason="needs grpcio: make test-connect"),
]
KINDS = {"classic": {}, "connect": {"spark.remote": "local[2]"}}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """What each kind of session gave: its folder and its summary."""
    found = {}
    for kind, settings in KINDS.items():
        root = tmp_path_factory.mktemp("connect") / kind
        paths = [str(ROOT / "lib"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        finished = subprocess.run(
            [
                sys.executable,
                str(Path(__file__).with_name("everything.py")),
                str(root),
                json.dumps(SPARK | settings),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            capture_output=True,
            text=True,
            timeout=1700,
        )
        assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-6000:]
        found[kind] = root, json.loads(finished.stdout.splitlines()[-1])
        print(kind, found[kind][1]["seconds"])
    return found


def test_the_sessions_are_of_two_kinds(results: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    sessions = {kind: summary["session"] for kind, (_, summary) in results.items()}
    assert sessions["classic"] == "pyspark.sql.session"
    assert sessions["connect"] == "pyspark.sql.connect.session"


def test_every_stage_is_done(results: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    classic, connect = (results[kind][1]["records"] for kind in KINDS)
    assert classic == connect
    assert set(connect.values()) == {"done"}
    assert {"report", "diagnose", "explain", "tune"} <= connect.keys()


def test_the_tables_are_the_same(results: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    classic, connect = (results[kind][0] for kind in KINDS)
    assert_same_tables(_tables(connect), _tables(classic))


def test_a_pipeline_of_spark_ml_gives_the_same_weights(
    results: dict[str, tuple[Path, dict[str, Any]]],
) -> None:
    classic, connect = (results[kind][1]["weights"] for kind in KINDS)
    assert len(connect) == 50
    np.testing.assert_allclose(connect, classic, rtol=1e-5)


def _tables(root: Path) -> dict[str, pd.DataFrame]:
    found = {}
    for name in TABLES:
        rows = pd.read_parquet(root / "tables" / f"{name}.parquet")
        exact = rows.drop(columns=[*FLOATS.get(name, []), "source_file", "p"], errors="ignore")
        exact = exact.map(_text)
        floats = rows[FLOATS.get(name, [])].astype(float)
        both = pd.concat([exact, floats], axis=1)
        found[name] = both.sort_values(list(exact.columns)).reset_index(drop=True)
    return found


def _text(value: Any) -> str:
    """The value as text; without Arrow, pandas gets the floats of an array as doubles."""
    if not isinstance(value, np.ndarray):
        return str(value)
    same = value.astype(np.float32) if value.dtype.kind == "f" else value
    return str(same.tolist())
