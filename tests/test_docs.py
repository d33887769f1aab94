"""What the pages of docs/ are made of: docstrings of methods, stages, settings and tables."""

import ast
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tests.importance.union import MEMBERS

from reweight.config import BenchmarkConfig, ConditionsConfig, RunConfig
from reweight.core import tables
from reweight.core.section import Section
from reweight.core.tables import Table
from reweight.diagnose.findings import ADVICE
from reweight.importance.base import ImportanceMethod
from reweight.runner import pipeline as stages

ROOT = Path(__file__).parent.parent
MODULES = [
    module
    for one in pkgutil.iter_modules(stages.__path__, "reweight.stages.")
    if (module := importlib.import_module(one.name)).__doc__.startswith("The stage")
]
TABLES = {name: one for name, one in vars(tables).items() if isinstance(one, Table)}


def sections(docstring: str | None) -> dict[str, str]:
    """Named parts of a docstring in Google's style: a word, and indented lines."""
    text = inspect.cleandoc(docstring or "")
    parts = re.findall(r"^(\w+):\n((?:(?: {4}.*)?\n?)+)", text, flags=re.MULTILINE)
    return {name: inspect.cleandoc(body) for name, body in parts}


def documented(docstring: str | None) -> set[str]:
    """Names in the section Attributes."""
    return set(
        re.findall(r"^([\w.]+): \S", sections(docstring).get("Attributes", ""), re.MULTILINE)
    )


def described(kind: type[BaseModel]) -> set[str]:
    """Fields of a config class that its docstring, or that of a class above it, describes."""
    return set().union(*(documented(vars(one).get("__doc__")) for one in kind.__mro__))


def inner(field: FieldInfo) -> set[type[Section]]:
    """Config classes that a field is made of, but for the methods of a run."""
    names = re.findall(r"[\w.]+", str(field.annotation))
    kinds = {getattr(sys.modules.get(n.rpartition(".")[0]), n.rpartition(".")[2], 0) for n in names}
    return {k for k in kinds if inspect.isclass(k) and issubclass(k, Section)} - set(MEMBERS)


def sections_of(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """A config class, and the classes that its fields are made of."""
    parts = [part for field in kind.model_fields.values() for part in inner(field)]
    return {kind}.union(*(sections_of(part) for part in parts))


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_a_method_says_what_it_is_from_where_and_when_it_hurts(
    member: type[ImportanceMethod],
) -> None:
    module = inspect.getmodule(member)
    assert module is not None
    about, told = inspect.getdoc(module) or "", sections(vars(member)["__doc__"])
    name = member.model_fields["method"].default
    first = about.split("\n\n")[0]
    assert re.fullmatch(rf"`{name}`: .+\.", first, re.DOTALL), "what it is, in a sentence"
    formula = re.search(r"^ {4}\S", about, re.MULTILINE) or re.search(r"[=^]|\w\([^)]+\)", first)
    assert formula, "a formula, in the first sentence or on lines of its own"
    assert re.search(r"\b(19|20)\d\d\b|of the article", about), "the paper that it is from"
    assert member.assumes.strip()
    assert set(told) >= {"Helps", "Hurts", "Refuses"}
    for part in ("Helps", "Hurts", "Refuses"):
        assert told[part].strip().endswith("."), part


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_a_stage_says_what_it_reads_writes_and_refuses(module: ModuleType) -> None:
    told = sections(module.__doc__)
    assert set(told) >= {"Reads", "Writes", "Refuses"}
    assert all(text.strip().endswith(".") for text in told.values())


def test_every_stage_of_the_line_has_a_page() -> None:
    told = {name for module in MODULES for name in vars(module)}
    assert {stage.__name__ for stage in stages.PIPELINE} <= told
    assert set(stages.__all__) - {"PIPELINE"} <= told


@pytest.mark.parametrize(
    "config", [RunConfig, ConditionsConfig, BenchmarkConfig, *MEMBERS], ids=lambda one: one.__name__
)
def test_every_setting_has_a_meaning(config: type[BaseModel]) -> None:
    for kind in sections_of(config):
        left = set(kind.model_fields) - described(kind) - {"method"}
        # What a section is for its own class says.
        assert not {name for name in left if not inner(kind.model_fields[name])}, kind


def test_sections_within_sections_are_found() -> None:
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
    told, schema = documented(ast.literal_eval(after.value)), TABLES[symbol].schema
    columns = {column.split()[0] for column in schema.split(",")} if schema else told
    assert told == columns


def test_the_page_of_methods_by_mechanism_knows_them_all() -> None:
    page = (ROOT / "docs/which_method.md").read_text()
    assert [name for name in ADVICE if f"| {name} |" not in page] == []


def test_the_glossary_is_in_order_and_gives_each_word_two_sentences() -> None:
    parts = (ROOT / "docs/glossary.md").read_text().split("\n## ")[1:]
    words = [part.partition("\n")[0].lower() for part in parts]
    assert words == sorted(words)
    for part in parts:
        told = re.sub(r"`[^`]*`", "code", " ".join(part.partition("\n")[2].split()))
        assert len(re.findall(r"\.(?= |$)", told)) == 2, part


@pytest.mark.skipif(not (ROOT / ".venv-docs/.made").exists(), reason="after `make docs` alone")
def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    command = [ROOT / ".venv-docs/bin/mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for member in MEMBERS:
        page = tmp_path / "methods" / f"{member.model_fields['method'].default}.html"
        text = page.read_text()
        assert all(f'<details class="{part}"' in text for part in ("helps", "hurts", "refuses"))
    # Nothing is fetched from elsewhere when a page is read.
    for page in tmp_path.rglob("*.html"):
        assert not re.search(r"<(?:script|link|img)[^>]+https?://", page.read_text()), page
