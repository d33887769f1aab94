"""The house rules that no linter knows: one name for a stage, and who may import one."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "lib" / "reweight"
STAGES = sorted(LIBRARY.glob("*/stage.py"))


def test_folder_job_and_stage_function_have_one_name() -> None:
    assert len(STAGES) >= 11
    for path in STAGES:
        name = path.parent.name
        functions = [n.name for n in ast.parse(path.read_text()).body if hasattr(n, "name")]
        assert name in functions, path
        assert f"import {name}\n" in (ROOT / "jobs" / f"{name}.py").read_text(), name


def test_only_the_runner_and_the_jobs_import_a_stage() -> None:
    for path in LIBRARY.rglob("*.py"):
        if path.is_relative_to(LIBRARY / "runner"):
            continue
        nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
        imported = {f"{n.module}.{alias.name}" for n in nodes for alias in n.names}
        assert not [name for name in imported if ".stage." in f"{name}."], path


def test_no_file_of_the_library_is_longer_than_350_lines() -> None:
    long = {
        p.name: n for p in LIBRARY.rglob("*.py") if (n := len(p.read_text().splitlines())) > 350
    }
    assert not long


def test_the_root_of_the_library_is_a_table_of_contents() -> None:
    names = [p.name for p in LIBRARY.iterdir() if p.name != "__pycache__"]
    assert len(names) <= 25


def test_two_modules_know_which_kind_of_session_they_have() -> None:
    words = re.compile(r"sparkContext|\b_jvm\b|\b_jsc\b|\b_jdf\b|\.rdd\b|is_connect")
    named = {p.name for p in LIBRARY.rglob("*.py") if words.search(p.read_text())}
    assert named == {"session_kind.py", "spark_files.py"}
