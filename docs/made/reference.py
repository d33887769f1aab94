"""The pages of the config and the tables, and tables within written pages."""

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
    member_of,
    own_attributes,
)
from made.settings import settings_of, settings_table, settings_tree
from made.stages import StagePage
from made.text import inline, markdown_table, sentence


def config_page(sources: griffe.Module) -> str:
    """The page with every section and every setting."""
    config = sources["config"]
    parts = [
        "# Config",
        "A run is one YAML file. An unknown key is an error, and all errors of a file are reported "
        "together, before anything is read. `key=value` after the file's name overrides a value of "
        "the file: `run_id=today fitting.ranks=2 importance.1.training.epochs=5`. `${...}` refers "
        "to another value of the file. With `base: other.yaml`, a path relative to the file's own "
        "folder, everything that the file leaves out comes from that file: sections are merged, "
        "lists are replaced. `conf/demo.yaml` is a complete example with comments.",
        "A setting of type SQL is an expression of Spark SQL that runs with the rights of the job: "
        "treat a config as code.",
        "## A run {#run}",
        "These settings stand outside of the sections below, which are in the order of the stages:",
    ]
    settings, own = settings_of(config["RunConfig"]), own_attributes(config["RunConfig"])
    parts.append(settings_table([s for s in settings if not s.nested]))
    # Sections that every job has, such as `tracking`, come after those of the stages.
    nested = sorted((s for s in settings if s.nested), key=lambda s: s.key not in own)
    sections = {s.key: s.nested for s in nested}
    parts.append(
        "`importance` is a list of [methods](methods/index.md), and `rankers` one of "
        "[rankers](rankers.md), each with its settings. `ranking: {C: 0.1}` is short for `rankers: "
        "[{ranker: logistic_regression, C: 0.1}]`."
    )
    for name in ("ConditionsConfig", "BenchmarkConfig"):
        new = [s for s in settings_of(config[name]) if s.nested and s.key not in sections]
        sections |= {s.key: s.nested for s in new}
    for key, kinds in sections.items():
        parts.append(f"## `{key}` {{#{key}}}")
        if len(kinds) == 1:
            parts += [_about(kinds[0]), settings_tree(kinds[0], key, 3)]
            continue
        for kind in kinds:
            # The items of a list, each named by its first field.
            name = literal(member_of(kind, key.removesuffix("s")).value)
            parts += [f"### `{name}` {{#{key}-{name}}}", _about(kind), settings_tree(kind, key, 4)]
    parts += [
        "## Other jobs",
        "`jobs/conditions.py` takes a run with the section [`conditions`](#conditions); "
        "`jobs/benchmark.py` takes `run_id`, `root`, `data_dir`, `spark`, `importance` and the "
        "section [`benchmark`](#benchmark).",
    ]
    return "\n\n".join(parts) + "\n"


def _about(section: griffe.Class) -> str:
    """The purpose of a section's module, and its docstring without the settings."""
    summary = re.sub(r"^The section ``\w+``[.:]? ?", "", first_paragraph(section))
    module = f"Module `{section.module.path}`: {inline(first_paragraph(section.module))}"
    return f"{module}\n\n{inline(sentence(summary))}" if summary.strip(".") else module


def table_page(sources: griffe.Module, stages: list[StagePage]) -> str:
    """The page with every table and every column."""
    parts = [
        "# Tables",
        "All are Delta tables, in `<root>/tables` or in the schema of a catalog, partitioned by "
        "`run_id`. That is the first column of each: the run that a row belongs to. A run replaces "
        "its own rows in one commit and leaves the rows of other runs alone. The commit's metadata "
        "holds the run, the hash of its config, the revision of the code, and the versions of the "
        "tables that were read.",
    ]
    for member in own_attributes(sources["core.tables"]).values():
        call = called(member)
        if call is None or ast.unparse(call.func) != "Table":
            continue
        table, stage, *rest = (ast.literal_eval(argument) for argument in call.args)
        about = [
            part for part in docstring(member).split("\n\n") if not part.startswith("Attributes:")
        ]
        parts += [f"## `{table}`", f"Written by {_writer(stages, stage)}.", *map(inline, about)]
        parts.append(_columns(described(member), rest[0] if rest else ""))
        if len(rest) > 1:
            checks = ", ".join(f"`{check}`" for check in rest[1].values())
            parts.append(f"Delta refuses rows that violate {checks}.")
    return "\n\n".join(parts) + "\n"


def _columns(meanings: dict[str, str], schema: str) -> str:
    """A row for each column of the schema, then for those that only the docstring names."""
    columns = re.findall(r"(\w+) ([\w<>]+)( not null)?(?:, |$)", schema)
    rows = [
        (f"`{name}`", f"`{kind}`", "no" if required else "yes", inline(sentence(meanings[name])))
        for name, kind, required in columns
    ]
    rows += [
        (f"`{name}`", "", "", inline(sentence(meaning)))
        for name, meaning in meanings.items()
        if name not in {column for column, _, _ in columns}
    ]
    return markdown_table(("column", "type", "may be null", "meaning"), rows)


def _writer(stages: list[StagePage], stage: str) -> str:
    """A link to the page that describes a stage function."""
    page = next(s for s in stages if stage in {f.name for f in s.functions})
    return f"[`{stage}`](stages/{page.name}.md)"


def faults(sources: griffe.Module) -> str:
    """The advice of the stage diagnose, as a table."""
    module = sources["diagnose.findings"]
    groups = {
        name: value
        for name, member in own_attributes(module).items()
        if isinstance(value := literal(member.value), tuple)
    }
    advice = ast.parse(str(module.members["ADVICE"].value), mode="eval").body
    assert isinstance(advice, ast.Dict)
    rows = []
    for fault, call in zip(advice.keys, advice.values, strict=True):
        assert isinstance(call, ast.Call)
        suggests, warns, text = call.args
        methods = [_links(_method_names(names, groups)) for names in (suggests, warns)]
        rows.append((str(ast.literal_eval(fault)), *methods, inline(ast.literal_eval(text))))
    return markdown_table(("what is visible", "methods to try", "use with care", "advice"), rows)


def _method_names(node: ast.expr, groups: dict[str, tuple[str, ...]]) -> list[str]:
    """The names in a tuple whose members may be names of other tuples."""
    match node:
        case ast.Tuple(elts=parts):
            return [name for part in parts for name in _method_names(part, groups)]
        case ast.Starred(value=value):
            return _method_names(value, groups)
        case ast.Name(id=name):
            return list(groups[name])
    return [ast.literal_eval(node)]


def _links(names: list[str]) -> str:
    return ", ".join(f"[`{name}`](methods/{name}.md)" for name in names) or "none"


def conditions() -> str:
    """The worlds of the benchmarks, and how each differs from one without faults."""
    rows = []
    for file in ("conditions", "delays"):
        config = yaml.safe_load((ROOT / "conf" / "benchmark" / f"{file}.yaml").read_text())
        for name, settings in config["conditions"]["worlds"].items():
            changed = ", ".join(f"`{key}: {value}`" for key, value in settings.items())
            rows.append((f"`{file}.yaml`", f"`{name}`", changed or "none"))
    return markdown_table(("file", "condition", "changed settings of `simulation`"), rows)
