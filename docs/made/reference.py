"""The pages of the config and of the tables, and tables within written pages."""

import ast
import re

import griffe
import yaml

from made.classes import (
    ROOT,
    called,
    described,
    docstring,
    first_paragraph,
    literal,
    own_attributes,
)
from made.settings import settings_of, settings_table, settings_tree
from made.text import inline, markdown_table, sentence


def config_page(sources: griffe.Module) -> str:
    """Every section with every setting."""
    config = sources["config"]
    parts = [
        "# Config",
        "A run is one YAML file. An unknown key is an error, and all errors of a file are told "
        "together, before anything is read. `key=value` after the file's name puts a value over "
        "that of the file: `run_id=today fitting.ranks=2 importance.0.training.epochs=5`. `${...}` stands "
        "for another value of the file. With `base: other.yaml`, a path from the file's own "
        "folder, what the file does not say is as there: sections are merged, lists replaced. "
        "`conf/demo.yaml` is a whole one with comments.",
        "Where a setting takes SQL it is an expression of Spark SQL that runs with the rights of "
        "the job: treat a config as code.",
        "## A run {#run}",
        "Beside the sections below, which are in the order of the stages:",
    ]
    known: dict[str, griffe.Class] = {}
    plain = []
    for one in settings_of(config["RunConfig"]):
        if one.nested:
            known[one.key] = one.nested[0]
        else:
            plain.append(one)
    parts.append(settings_table(plain))
    parts.append("`importance` is a list of [methods](methods/index.md), each with its settings.")
    for name in ("ConditionsConfig", "BenchmarkConfig"):
        own = [one for one in settings_of(config[name]) if one.nested and one.key not in known]
        known |= {one.key: one.nested[0] for one in own}
    for key, section in known.items():
        parts += [f"## `{key}` {{#{key}}}", _about(section), settings_tree(section, key, 3)]
    parts += [
        "## Other jobs",
        "`jobs/conditions.py` takes a run with the section [`conditions`](#conditions); "
        "`jobs/benchmark.py` takes `run_id`, `root`, `data_dir`, `spark`, `importance` and the "
        "section [`benchmark`](#benchmark).",
    ]
    return "\n\n".join(parts) + "\n"


def _about(section: griffe.Class) -> str:
    """What the module of a section is for, and what its docstring says beside the settings."""
    stated = sentence(
        re.sub(r"^The section ``\w+``[.:]? ?", "", first_paragraph(section)) or ""
    ).strip(".")
    module = section.module
    told = f"Module `{module.path}`: {inline(first_paragraph(module))}"
    return f"{told}\n\n{inline(sentence(stated))}" if stated else told


def table_page(sources: griffe.Module) -> str:
    """Every table with every column."""
    module = sources["tables"]
    parts = [
        "# Tables",
        "All are Delta tables in `<root>/tables`, partitioned by `run_id`, the first column of "
        "each: the run that a row is of. A run replaces its own rows in one commit and touches no "
        "other run's; the commit's metadata names the run, the hash of its config, the revision "
        "of the code and the versions of the tables that were read.",
    ]
    for member in own_attributes(module).values():
        call = called(member)
        if call is None or ast.unparse(call.func) != "Table":
            continue
        table, stage, *rest = (ast.literal_eval(one) for one in call.args)
        about = [
            part for part in docstring(member).split("\n\n") if not part.startswith("Attributes:")
        ]
        parts += [f"## `{table}`", f"Written by {_writer(sources, stage)}.", *map(inline, about)]
        meanings = described(member)
        columns = re.findall(r"(\w+) ([\w<>]+)( not null)?(?:, |$)", rest[0]) if rest else []
        rows = [
            (f"`{name}`", f"`{kind}`", "no" if known else "yes", inline(sentence(meanings[name])))
            for name, kind, known in columns
        ]
        rows += [
            (f"`{c}`", "", "", inline(sentence(text)))
            for c, text in meanings.items()
            if c not in {column for column, _, _ in columns}
        ]
        parts.append(markdown_table(("column", "type", "may be null", "meaning"), rows))
        if len(rest) > 1:
            checks = ", ".join(f"`{check}`" for check in rest[1].values())
            parts.append(f"Delta refuses rows that break {checks}.")
    return "\n\n".join(parts) + "\n"


def _writer(sources: griffe.Module, stage: str) -> str:
    module = next(one for one in sources["stages"].modules.values() if stage in one.functions)
    return f"[`{stage}`](stages/{module.name}.md)"


def mechanisms(sources: griffe.Module) -> str:
    """What the stage diagnose advises, as a table."""
    advice = sources["mechanisms.findings"].members["ADVICE"]
    lists = {
        name: literal(member.value)
        for name, member in own_attributes(sources["mechanisms.findings"]).items()
        if isinstance(literal(member.value), tuple)
    }
    told = ast.parse(str(advice.value), mode="eval").body
    assert isinstance(told, ast.Dict)
    rows = []
    for key, call in zip(told.keys, told.values, strict=True):
        assert isinstance(call, ast.Call)
        suggests, warns, text = call.args
        named = [_links(_spread(one, lists)) for one in (suggests, warns)]
        rows.append((str(ast.literal_eval(key)), *named, inline(ast.literal_eval(text))))
    return markdown_table(("what is visible", "to try", "with care", "and"), rows)


def _spread(node: ast.expr, lists: dict[str, tuple[str, ...]]) -> list[str]:
    """A tuple of names, some of them given as the name of a tuple."""
    match node:
        case ast.Tuple(elts=parts):
            return [name for part in parts for name in _spread(part, lists)]
        case ast.Starred(value=value):
            return _spread(value, lists)
        case ast.Name(id=name):
            return list(lists[name])
    return [ast.literal_eval(node)]


def _links(names: list[str]) -> str:
    return ", ".join(f"[`{name}`](methods/{name}.md)" for name in names) or "none"


def conditions() -> str:
    """The worlds of the benchmarks, and in what they differ from one in which nothing is wrong."""
    rows = []
    for path in ("conditions", "delays"):
        told = yaml.safe_load((ROOT / "conf" / "benchmark" / f"{path}.yaml").read_text())
        for name, own in told["conditions"]["worlds"].items():
            differs = ", ".join(f"`{key}: {value}`" for key, value in own.items()) or "nothing"
            rows.append((f"`{path}.yaml`", f"`{name}`", differs))
    return markdown_table(("file", "condition", "settings of `simulation` that differ"), rows)
