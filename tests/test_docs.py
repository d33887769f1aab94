"""The sources of the pages of docs/: docstrings of methods, stages, settings and tables."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tests.importance.union import MEMBERS

from reweight.config import (
    BenchmarkConfig,
    ConditionsConfig,
    RunConfig,
    load_config,
    read_config,
)
from reweight.core import tables
from reweight.core.section import Section
from reweight.core.session import SEMANTICS
from reweight.core.tables import Table
from reweight.core.yaml_text import parsed
from reweight.diagnose.findings import ADVICE
from reweight.importance.base import ImportanceMethod
from reweight.runner import pipeline
from reweight.training.plan import Fitting

ROOT = Path(__file__).parent.parent
MODULES = [
    importlib.import_module(".".join(path.relative_to(ROOT / "lib").with_suffix("").parts))
    for path in sorted((ROOT / "lib/reweight").rglob("stage.py"))
]
TABLES = {name: value for name, value in vars(tables).items() if isinstance(value, Table)}


def sections(docstring: str | None) -> dict[str, str]:
    """The sections of a Google-style docstring: a word with a colon, then indented lines."""
    text = inspect.cleandoc(docstring or "")
    parts = re.findall(r"^(\w+):\n((?:(?: {4}.*)?\n?)+)", text, flags=re.MULTILINE)
    return {name: inspect.cleandoc(body) for name, body in parts}


def documented(docstring: str | None) -> set[str]:
    """The names in the section Attributes."""
    return set(
        re.findall(r"^([\w.]+): \S", sections(docstring).get("Attributes", ""), re.MULTILINE)
    )


def described(kind: type[BaseModel]) -> set[str]:
    """The fields that the docstring of a config class, or of one of its bases, describes."""
    return set().union(*(documented(vars(base).get("__doc__")) for base in kind.__mro__))


def inner(field: FieldInfo) -> set[type[Section]]:
    """The config classes in the type of a field, without the importance methods."""
    names = re.findall(r"[\w.]+", str(field.annotation))
    kinds = {getattr(sys.modules.get(n.rpartition(".")[0]), n.rpartition(".")[2], 0) for n in names}
    return {k for k in kinds if inspect.isclass(k) and issubclass(k, Section)} - set(MEMBERS)


def sections_of(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """A config class, and those in the types of its fields."""
    parts = [part for field in kind.model_fields.values() for part in inner(field)]
    return {kind}.union(*(sections_of(part) for part in parts))


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_a_method_documents_its_formula_its_source_and_when_it_hurts(
    member: type[ImportanceMethod],
) -> None:
    module = inspect.getmodule(member)
    assert module is not None
    about, parts = inspect.getdoc(module) or "", sections(vars(member)["__doc__"])
    name = member.model_fields["method"].default
    first = about.split("\n\n")[0]
    assert re.fullmatch(rf"`{name}`: .+\.", first, re.DOTALL), "one sentence on what it is"
    formula = re.search(r"^ {4}\S", about, re.MULTILINE) or re.search(r"[=^]|\w\([^)]+\)", first)
    assert formula, "a formula, in the first sentence or on its own lines"
    assert re.search(r"\b(19|20)\d\d\b|of the article", about), "the paper it is from"
    assert member.assumes.strip()
    assert set(parts) >= {"Helps", "Hurts", "Refuses"}
    for part in ("Helps", "Hurts", "Refuses"):
        assert parts[part].strip().endswith("."), part


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-2])
def test_a_stage_documents_what_it_reads_writes_and_refuses(module: ModuleType) -> None:
    parts = sections(module.__doc__)
    assert set(parts) >= {"Reads", "Writes", "Refuses"}
    assert all(text.strip().endswith(".") for text in parts.values())


def test_every_stage_of_the_pipeline_has_a_page() -> None:
    functions = {name for module in MODULES for name in vars(module)}
    assert {stage.__name__ for stage in pipeline.PIPELINE} <= functions
    assert set(pipeline.__all__) - {"PIPELINE"} <= functions


@pytest.mark.parametrize(
    "config",
    [RunConfig, ConditionsConfig, BenchmarkConfig, *MEMBERS],
    ids=lambda kind: kind.__name__,
)
def test_every_setting_has_a_meaning(config: type[BaseModel]) -> None:
    for kind in sections_of(config):
        undescribed = set(kind.model_fields) - described(kind) - {"method"}
        # A nested section is described by the docstring of its own class.
        assert not {name for name in undescribed if not inner(kind.model_fields[name])}, kind
        # Each meaning has a row of its own, so none goes on in the next one.
        meanings = sections(vars(kind).get("__doc__")).get("Attributes", "")
        unfinished = [m for m in re.split(r"\n(?=\S)", meanings) if m.endswith(("; or", ", and"))]
        assert not unfinished, kind


def test_nested_sections_are_checked_too() -> None:
    names = {kind.__name__ for kind in sections_of(RunConfig)}
    assert names >= {"Cleaning", "Source", "Lookup", "Label", "Dirt", "Weighting", "History"}
    assert {kind.__name__ for kind in sections_of(MEMBERS[-1])} == {"Product"}


@pytest.mark.parametrize("symbol", TABLES)
def test_every_column_of_a_table_has_a_meaning(symbol: str) -> None:
    body = ast.parse(inspect.getsource(tables)).body
    place = next(
        i
        for i, node in enumerate(body)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == symbol
    )
    after = body[place + 1]
    assert isinstance(after, ast.Expr), "a docstring"
    described_columns = documented(ast.literal_eval(after.value))
    schema = TABLES[symbol].schema
    if schema:
        assert described_columns == {column.split()[0] for column in schema.split(",")}


def test_the_page_of_methods_by_fault_covers_every_fault() -> None:
    page = (ROOT / "docs/which_method.md").read_text()
    assert [name for name in ADVICE if f"| {name} |" not in page] == []


@pytest.mark.parametrize(
    ("page", "name"), [("serving", r"export/(\w+)[/\"]"), ("notebooks", r"method = '(\w+)'")]
)
def test_what_a_page_opens_after_the_demo_is_a_method_of_the_demo(page: str, name: str) -> None:
    named = set(re.findall(name, (ROOT / f"docs/{page}.md").read_text()))
    methods = {method.name for method in load_config(str(ROOT / "conf/demo.yaml")).importance}
    assert named and named <= methods


@pytest.mark.parametrize("page", ["README.md", "docs/own_logs.md"])
def test_a_config_that_a_page_calls_complete_is_one(page: str) -> None:
    blocks = re.findall(r"```yaml\n(run_id:.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(blocks) == 1
    read_config(RunConfig, parsed(blocks[0]))


def test_the_days_that_are_watched_are_days_of_the_demo() -> None:
    simulation = load_config(str(ROOT / "conf/demo.yaml")).simulation
    assert simulation is not None
    days = re.findall(r"2026-01-(\d\d)", (ROOT / "docs/monitoring.md").read_text())
    assert days and max(map(int, days)) <= simulation.days


def test_the_page_of_failures_names_each_setting_of_the_execution() -> None:
    page = (ROOT / "docs/failures.md").read_text()
    assert [s for s in Fitting.how if f"`{s}`" not in page and f"`fitting.{s}`" not in page] == []
    known = {kind for kind in RunConfig.model_fields if inner(RunConfig.model_fields[kind])}
    unnamed = [s for s in known - {"tracking"} if not re.search(rf"`{s}\b", page)]
    assert unnamed == [], "what is run again if it changes"


def test_settings_of_a_given_session_are_those_of_the_properties_file() -> None:
    lines = (ROOT / "conf/spark/local.conf").read_text().splitlines()
    listed = dict(line.split(maxsplit=1) for line in lines if line.startswith("spark."))
    assert {key: listed.get(key) for key in SEMANTICS} == SEMANTICS
    page = " ".join((ROOT / "docs/databricks.md").read_text().split())
    assert len(SEMANTICS) == 7 and "the seven settings" in page


@pytest.mark.parametrize("path", ["docs/text.md", "conf/domains/search.yaml"])
def test_the_command_that_installs_wordllama_leaves_numpy_as_it_is(path: str) -> None:
    pinned = re.search(r"wordllama==[\w.]+", (ROOT / "pyproject.toml").read_text())
    assert pinned is not None
    assert f"pip install --no-deps {pinned[0]} tokenizers" in (ROOT / path).read_text()


def test_the_glossary_is_sorted_and_defines_each_word_in_two_sentences() -> None:
    parts = (ROOT / "docs/glossary.md").read_text().split("\n## ")[1:]
    words = [part.partition("\n")[0].lower() for part in parts]
    assert words == sorted(words)
    for part in parts:
        text = re.sub(r"`[^`]*`", "code", " ".join(part.partition("\n")[2].split()))
        assert len(re.findall(r"\.(?= |$)", text)) == 2, part


@pytest.mark.skipif(not (ROOT / ".venv-docs/.made").exists(), reason="needs `make docs` once")
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    command = [ROOT / ".venv-docs/bin/mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for member in MEMBERS:
        page = tmp_path / "methods" / f"{member.model_fields['method'].default}.html"
        text = page.read_text()
        assert all(f'<details class="{part}"' in text for part in ("helps", "hurts", "refuses"))
    settings = (tmp_path / "config.html").read_text()
    for name, default in (("timeout", "10 minutes"), ("grain", "1 day")):
        row = re.search(rf"<td><code>{name}</code></td>.*?</tr>", settings, re.DOTALL)
        assert row is not None and f"<td><code>{default}</code></td>" in row[0]
    # The section is read beside `stage.py`.
    assert 'id="fitting"' in (tmp_path / "stages/fit_importance.html").read_text()
    # Pages load nothing from the network.
    for page in tmp_path.rglob("*.html"):
        assert not re.search(r"<(?:script|link|img)[^>]+https?://", page.read_text()), page
