"""Makes the pages of methods, stages, tables and the config of the library's sources.

The sources are parsed and never imported, so that neither Spark nor torch has to be there. A method
that is put into the union, a stage, a table or a setting has its place here without further work;
what its docstring says is what its page says.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import griffe
import yaml

_ROOT = Path(__file__).parent.parent
_PACKAGE = "reweight"
_CONFIGS = ("RunConfig", "ConditionsConfig", "BenchmarkConfig")
_KINDS = {
    "Name": "name",
    "RunId": "name",
    "Sql": "SQL",
    "Seconds": "time, as `3 days`",
    "Share": "number in (0, 1)",
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "None": "null",
    "date": "date",
    "Method": "method",
}
_LIMITS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def made() -> dict[str, Any]:
    """Pages by path, entries of the navigation, and tables that stand within written pages."""
    sources = griffe.load(
        _PACKAGE,
        search_paths=[str(_ROOT / "lib")],
        docstring_parser="google",
        allow_inspection=False,
    )
    methods, stages = list(_methods(sources)), list(_stages(sources))
    pages = {f"methods/{m.name}.md": m.page() for m in methods}
    pages |= {f"stages/{s.name}.md": s.page(stages) for s in stages}
    pages |= {
        "methods/index.md": _method_index(methods),
        "stages/index.md": _stage_index(stages),
        "config.md": _config_page(sources),
        "tables.md": _table_page(sources),
    }
    return {
        "pages": pages,
        "nav": {
            "METHODS": ["methods/index.md", *[{m.name: f"methods/{m.name}.md"} for m in methods]],
            "STAGES": ["stages/index.md", *[{s.name: f"stages/{s.name}.md"} for s in stages]],
        },
        "tables": {"MECHANISMS": _mechanisms(sources), "CONDITIONS": _conditions()},
    }


# ---- what a class says -------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A field of a config class."""

    key: str
    kind: str
    default: str
    meaning: str
    nested: tuple[griffe.Class, ...]


def _line(owner: griffe.Class) -> list[griffe.Class]:
    return [owner, *owner.mro()]


def _member(owner: griffe.Class, name: str) -> Any:
    """An attribute of a class or of the first of its bases that has it."""
    return next((one.members[name] for one in _line(owner) if name in one.members), None)


def _own_attributes(one: griffe.Module | griffe.Class) -> dict[str, griffe.Attribute]:
    """What is set in a module or class itself, without what it imports."""
    return {n: m for n, m in one.members.items() if not m.is_alias and m.is_attribute}


def _value(owner: griffe.Class, name: str) -> Any:
    """What a class attribute is; the first line of the docstring where it is a property."""
    found = _member(owner, name)
    if "property" in found.labels:
        return _first(found)
    return _python(found.value)


def _python(value: Any) -> Any:
    try:
        return ast.literal_eval(str(value))
    except ValueError:
        return str(value)


def _text(one: griffe.Object) -> str:
    return one.docstring.value if one.docstring else ""


def _first(one: griffe.Object) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(_text(one).split("\n\n")[0].split())


def _attributes(owner: griffe.Object) -> dict[str, str]:
    """What the section Attributes of a docstring says, by name."""
    found = {}
    for section in owner.docstring.parsed if owner.docstring else ():
        if section.kind is griffe.DocstringSectionKind.attributes:
            found |= {item.name: " ".join(item.description.split()) for item in section.value}
    return found


def _settings(owner: griffe.Class) -> list[Setting]:
    """The fields of a class and of its bases, the bases' first."""
    line, names = _line(owner), {}
    for one in reversed(line):
        for name, member in _own_attributes(one).items():
            # Annotated, and no ClassVar.
            field = member.annotation is not None and "instance-attribute" in member.labels
            if field and not name.startswith("_"):
                names[name] = member
    found = []
    for name, member in names.items():
        if name in ("method", "name", "model_config"):
            continue
        nested = tuple(_sections_in(member.parent, str(member.annotation)))
        meaning = next((own[name] for one in line if name in (own := _attributes(one))), None)
        if meaning is None and nested:
            meaning = _first(nested[0])
        if meaning is None:
            raise ValueError(f"{owner.path}.{name} is in no section Attributes of a docstring")
        default, alias = _default(member, presets=any(n == "preset" for n in names))
        annotation = ast.parse(str(member.annotation), mode="eval").body
        kind = _kind(annotation, member.parent) + _limits(member)
        found.append(Setting(alias or name, kind, default, meaning, nested))
    return found


def _sections_in(owner: griffe.Class, annotation: str) -> Iterator[griffe.Class]:
    """Config classes that an annotation names."""
    for word in dict.fromkeys(re.findall(r"\b[A-Z]\w+", annotation)):
        if word in ("Literal", "Name", "Sql", "Method", "Share"):
            continue
        found = _resolved(owner, word)
        if isinstance(found, griffe.Class) and any(b.name == "Section" for b in found.mro()):
            yield found


def _resolved(owner: griffe.Object, name: str) -> Any:
    """What a name stands for in the module of an object."""
    found = owner.module.members.get(name)
    return found.final_target if found is not None and found.is_alias else found


def _call(member: griffe.Attribute) -> ast.Call | None:
    value = ast.parse(str(member.value), mode="eval").body if member.value is not None else None
    return value if isinstance(value, ast.Call) else None


def _default(member: griffe.Attribute, *, presets: bool) -> tuple[str, str | None]:
    """The default as the config would say it, and the field's name there if it is another."""
    none = "by `preset`" if presets else "required"
    if member.value is None:
        return none, None
    call = _call(member)
    if call is None or not (isinstance(call.func, ast.Name) and call.func.id == "Field"):
        return _yaml(ast.parse(str(member.value), mode="eval").body), None
    given = {word.arg: word.value for word in call.keywords}
    alias = ast.literal_eval(given["alias"]) if "alias" in given else None
    return (_yaml(given["default"]) if "default" in given else none), alias


def _yaml(value: ast.expr) -> str:
    """A default in YAML's notation, as code."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "date":
        return f"`{date(*[ast.literal_eval(part) for part in value.args]).isoformat()}`"
    if isinstance(value, ast.Call):
        own = ", ".join(f"{word.arg}: {_plain(word.value)}" for word in value.keywords)
        return f"`{{{own}}}`" if own else "as below"
    text = _plain(value)
    return f"`{text}`" if text else "none"


def _plain(value: ast.expr) -> str:
    try:
        held = ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)
    if isinstance(held, tuple):
        held = list(held)
    if held in ({}, []) or held is None:
        return {"{}": "", "[]": "", "None": "null"}[str(held)]
    return yaml.safe_dump(held, default_flow_style=True, width=1000).split("\n")[0]


def _kind(node: ast.expr, owner: griffe.Object) -> str:
    """A type in the words of a config's reader.

    Args:
        node: the annotation.
        owner: in whose module its names are known.
    """
    match node:
        case ast.BinOp(left=left, right=right):
            return f"{_kind(left, owner)} or {_kind(right, owner)}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return " or ".join(f"`{ast.literal_eval(value)}`" for value in values)
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, value])):
            told = _kind(value, owner)
            return f"{_kind(key, owner)} → {f'({told})' if '→' in told else told}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=parts)):
            if isinstance(parts[-1], ast.Constant) and parts[-1].value is ...:
                return f"list of {_many(_kind(parts[0], owner))}"
            told = [_kind(part, owner) for part in parts]
            same = len(set(told)) == 1
            return f"{len(told)} {_many(told[0])}" if same else f"list: {', '.join(told)}"
        case ast.Name(id=name):
            return _KINDS.get(name) or _named_kind(name, owner)
        case ast.Constant(value=None):
            return "null"
    return ast.unparse(node)


def _many(kind: str) -> str:
    return re.sub(r"^(whole number|number|name|method|section)\b", r"\1s", kind)


def _named_kind(name: str, owner: griffe.Object) -> str:
    """Of a name that is a section, or stands for another type."""
    found = _resolved(owner, name)
    if isinstance(found, griffe.Attribute):
        return _kind(ast.parse(str(found.value), mode="eval").body, found.parent)
    return "section, see below"


def _limits(member: griffe.Attribute) -> str:
    call = _call(member)
    told = [
        f"{_LIMITS[word.arg]} {ast.unparse(word.value).replace(' ** ', '^')}"
        for word in (call.keywords if call else ())
        if word.arg in _LIMITS
    ]
    return f", {' and '.join(told)}" if told else ""


# ---- Markdown ----------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def told(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([told(head), "|" + "---|" * len(head), *map(told, rows)])


def _inline(text: str) -> str:
    """A docstring's line as Markdown: what looks like HTML is none."""
    parts = re.split(r"(`+[^`]+`+)", text)
    parts[::2] = [re.sub(r"<(?=[A-Za-z/])", "&lt;", part) for part in parts[::2]]
    return "".join(parts)


def _settings_table(settings: list[Setting]) -> str:
    rows = [
        (f"`{one.key}`", one.kind, one.default, _inline(_sentence(one.meaning))) for one in settings
    ]
    return _table(("setting", "what it takes", "default", "meaning"), rows)


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a symbol, and a full stop."""
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    begins_with_word = re.match(r"[a-z]{2,}[ ,;:-]|a ", text) is not None
    return text[0].upper() + text[1:] if begins_with_word else text


def _settings_tree(owner: griffe.Class, key: str, level: int) -> str:
    """The table of a class's settings, and those of the classes that they are made of."""
    settings = _settings(owner)
    parts = [_settings_table(settings)] if settings else []
    for one in settings:
        place = f"{key}.{one.key}"
        each = " (each)" if one.kind.startswith(("list", "name →")) else ""
        for nested in one.nested:
            own = f": {nested.name}" if len(one.nested) > 1 else ""
            anchor = f"{place}{own}".replace(": ", "-").replace(".", "-")
            parts += [
                f"{'#' * level} `{place}`{each}{own} {{#{anchor}}}",
                _inline(_sentence(_first(nested))),
                _settings_tree(nested, place, level),
            ]
    return "\n\n".join(parts)


def _admonitions(one: griffe.Object) -> list[str]:
    """The sections of a docstring that have a name, as Reads."""
    return [
        f'!!! {section.value.kind} "{section.title}"\n\n{_indented(section.value.contents)}'
        for section in (one.docstring.parsed if one.docstring else ())
        if section.kind is griffe.DocstringSectionKind.admonition
    ]


def _documented(path: str, **options: Any) -> str:
    """A docstring, by mkdocstrings."""
    told = yaml.safe_dump({"options": options}) if options else ""
    return f"::: {path}\n" + "".join(f"    {line}\n" for line in told.splitlines())


# ---- methods -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MethodPage:
    """A member of the union."""

    owner: griffe.Class

    @property
    def name(self) -> str:
        """As configs say it."""
        return str(_python(_member(self.owner, "method").value))

    @property
    def importance(self) -> str:
        """What it gives a row, in a line."""
        first = re.split(r"(?<=\.)\s", _first(self.owner.module))[0]
        return re.sub(rf"^`{self.name}`: *", "", first)

    @property
    def high(self) -> str:
        """What high importance means."""
        if self.name in ("uniform", "random"):
            return "nothing"
        return str(_value(self.owner, "polarity"))

    def page(self) -> str:
        """The page of the method."""
        parts = [
            f"# {self.name}",
            _documented(self.owner.module.path),
            "## In short",
            _table(("", ""), self._facts()),
            "## When it helps, and when it hurts",
            _documented(self.owner.path),
            *self._configured(),
            "## Source { data-search-exclude }",
            self._source(),
        ]
        return "\n\n".join(parts) + "\n"

    def _facts(self) -> list[tuple[str, ...]]:
        owner = self.owner
        facts = [
            ("assumes", _sentence(str(_value(owner, "assumes")))),
            ("high importance means", self.high),
            ("importance below 0", _yes(_value(owner, "signed"), "yes: weights are made of ranks")),
            ("looks at a row's own label", _yes(_value(owner, "uses_label"), "yes")),
            ("says another label", _yes(_value(owner, "soft"), "yes: a probability to train on")),
            ("columns that it needs", self._needs()),
            ("what is trained", self._trained()),
            ("passes over the rows after the training", self._passes()),
            ("cost of scoring a row", f"{_value(owner, 'cost')} ([F, M, E](../glossary.md#f-m-e))"),
        ]
        return [(f"**{name}**", _inline(text)) for name, text in facts if text]

    def _needs(self) -> str:
        own = _value(self.owner, "needs")
        training = self._training()
        more = _value(training, "needs") if training is not None else ()
        if isinstance(own, str):
            return own
        names = sorted({*own, *(more if isinstance(more, tuple) else ())})
        told = ", ".join(f"[`{name}`](../tables.md#samples)" for name in names)
        return told or "none beside features, ids and label"

    def _training(self) -> griffe.Class | None:
        field = _member(self.owner, "training")
        if field is None:
            return None
        return next(iter(_sections_in(field.parent, str(field.annotation))), None)

    def _trained(self) -> str:
        training, learns = self._training(), _member(self.owner, "learns")
        if training is not None:
            told = _sentence(_first(training)).rstrip(".")
            shared = " Equal trainings of a run are one." if training.name[:8] == "Ensemble" else ""
            return f"{told} ([settings](#settings-training)).{shared}"
        if learns.parent.name == "ImportanceMethod":
            return "No network."
        return _sentence(_first(learns))

    def _passes(self) -> str:
        passes = _value(self.owner, "passes")
        return f"at most {passes}" if passes > 1 else str(passes)

    def _configured(self) -> list[str]:
        settings = _settings(self.owner)
        own = "".join(f", {one.key}: ..." for one in settings if one.default == "required")
        parts = ["## Settings", f"```yaml\nimportance:\n  - {{method: {self.name}{own}}}\n```"]
        tree = _settings_tree(self.owner, "settings", 3)
        parts.append(tree.replace("`settings.", "`") if tree else "None of its own.")
        presets = self.owner.module.members.get("_PRESETS")
        if presets is not None:
            values = _python(presets.value)
            keys = sorted({key for one in values.values() for key in one})
            rows = [(f"`{n}`", *[f"`{one.get(k)}`" for k in keys]) for n, one in values.items()]
            parts.append(_table(("`preset`", *[f"`{key}`" for key in keys]), rows))
        default = _member(self.owner, "default_name")
        named = _first(default) if default.parent is not _base(self.owner) else "the method's name"
        parts.append(
            f"With `name` it has another name in tables and reports; by default it is {named} "
            "One policy makes weights of importance: section "
            "[`weighting`](../config.md#weighting)."
        )
        return parts

    def _source(self) -> str:
        path = Path(str(self.owner.filepath)).relative_to(_ROOT)
        code = Path(str(self.owner.filepath)).read_text()
        return f'??? quote "`{path}`"\n\n' + _indented(f"```python\n{code.strip()}\n```")


def _base(owner: griffe.Class) -> griffe.Class:
    return next(one for one in _line(owner) if one.name == "ImportanceMethod")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def _yes(value: Any, told: str) -> str:
    """Of a property its docstring."""
    return value if isinstance(value, str) else told if value else "no"


def _methods(sources: griffe.Module) -> Iterator[MethodPage]:
    """The union, which is the only list of methods."""
    union = sources["importance"].members["Method"]
    for node in ast.walk(ast.parse(str(union.value), mode="eval")):
        if isinstance(node, ast.Subscript):
            members = node.slice.elts[0]  # type: ignore[attr-defined]
            break
    names: list[str] = []
    while isinstance(members, ast.BinOp):
        names.insert(0, members.right.id)  # type: ignore[attr-defined]
        members = members.left
    for name in [members.id, *names]:
        yield MethodPage(sources["importance"][name].final_target)


def _method_index(methods: list[MethodPage]) -> str:
    rows = [
        (f"[`{m.name}`]({m.name}.md)", _inline(m.importance), m.high,
         _inline(str(_value(m.owner, "assumes"))))
        for m in methods
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# Methods",
            "A method gives every sample a number, its importance; one policy for all of them "
            "(section [`weighting`](../config.md#weighting)) makes weights of it. Which of them "
            "to try on a log is a matter of [what went wrong in it](../which_method.md).",
            _table(("method", "what it is", "high means", "it assumes that"), rows),
            "A method is a file of `lib/reweight/importance` and a name in the union of its "
            "`__init__.py`. Its page is made of these.",
        ]
    )


# ---- stages ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagePage:
    """A module of the package stages, with its functions that take a run."""

    module: griffe.Module
    functions: tuple[griffe.Function, ...]
    sections: dict[str, griffe.Class]

    @property
    def name(self) -> str:
        """Of the module."""
        return self.module.name

    def page(self, stages: "list[StagePage]") -> str:
        """The page of the stage."""
        parts = [f"# {self.name}"]
        for function in self.functions:
            title = [f"## `{function.name}`"] if len(self.functions) > 1 else []
            parts += [*title, _documented(function.path)]
        parts += ["## What goes in and out", *_admonitions(self.module)]
        job = _ROOT / "jobs" / f"{self.name}.py"
        if job.is_file():
            parts.append(f"```console\n$ python jobs/{job.name} CONFIG [key=value ...]\n```")
        before = stages[: stages.index(self)]
        for name, section in self.sections.items():
            parts.append(f"## The section `{name}` {{#{name}}}")
            first = next((one for one in before if name in one.sections), None)
            if first is not None:
                parts.append(
                    f"It is read by [`{first.name}`]({first.name}.md#{name}) before; its settings "
                    "are told there."
                )
            else:
                parts += [_settings_tree(section, name, 3)]
        if not self.sections:
            parts += ["## Settings", "It has none of its own."]
        return "\n\n".join(parts) + "\n"


def _stages(sources: griffe.Module) -> Iterator[StagePage]:
    """Those of the line in its order, then those on their own."""
    package = sources["stages"]
    told = ast.parse(str(package.members["PIPELINE"].value), mode="eval").body
    order = [name.id for name in told.elts]  # type: ignore[attr-defined]
    modules = [one for one in package.modules.values() if _text(one).startswith("The stage")]
    modules.sort(key=lambda m: (order.index(m.name) if m.name in order else 99, m.name))
    known = {
        name: found[0]
        for config in _CONFIGS
        for name, member in _own_attributes(sources["config"][config]).items()
        if member.annotation is not None
        and (found := list(_sections_in(sources["config"][config], str(member.annotation))))
    }  # fmt: skip
    for module in modules:
        # A stage takes a run and gives a summary of what it did.
        functions = tuple(
            function
            for name, function in module.functions.items()
            if not name.startswith("_") and str(function.returns) == "dict[str, Any]"
            and len(function.parameters) == 1
        )  # fmt: skip
        used = re.findall(r"config\.(\w+)", Path(str(module.filepath)).read_text())
        yield StagePage(module, functions, {n: known[n] for n in dict.fromkeys(used) if n in known})


def _stage_index(stages: list[StagePage]) -> str:
    rows = [
        (f"[`{s.name}`]({s.name}.md)", _inline(_first(s.functions[0])),
         ", ".join(f"[`{n}`](../config.md#{n})" for n in s.sections) or "none")
        for s in stages
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# Stages",
            "Data flows one way. Every stage reads [tables](../tables.md) and its sections of the "
            "[config](../config.md), writes tables or files, and can be started again at any "
            "time: it replaces what it wrote for the run.",
            "    raw logs -> events -> samples -> importance -> weights -> ranker -> metrics "
            "-> report",
            "`python jobs/pipeline.py CONFIG` runs the line from `simulate_logs` to `report`; "
            "every stage is also a job of its own.",
            _table(("stage", "what it does", "sections that it reads"), rows),
        ]
    )


# ---- config, tables, mechanisms ----------------------------------------------------------------


def _config_page(sources: griffe.Module) -> str:
    config = sources["config"]
    parts = [
        "# Config",
        "A run is one YAML file. An unknown key is an error, and all errors of a file are told "
        "together, before anything is read. `key=value` after the file's name puts a value over "
        "that of the file: `run_id=today fitting.ranks=2 importance.0.epochs=5`. `${...}` stands "
        "for another value of the file. `conf/demo.yaml` is a whole one with comments.",
        "Where a setting takes SQL it is an expression of Spark SQL that runs with the rights of "
        "the job: treat a config as code.",
        "## A run {#run}",
        "Beside the sections below, which are in the order of the stages:",
    ]
    known: dict[str, griffe.Class] = {}
    plain = []
    for one in _settings(config["RunConfig"]):
        if one.nested:
            known[one.key] = one.nested[0]
        else:
            plain.append(one)
    parts.append(_settings_table(plain))
    parts.append("`importance` is a list of [methods](methods/index.md), each with its settings.")
    for name in ("ConditionsConfig", "BenchmarkConfig"):
        own = [one for one in _settings(config[name]) if one.nested and one.key not in known]
        known |= {one.key: one.nested[0] for one in own}
    for key, section in known.items():
        parts += [f"## `{key}` {{#{key}}}", _about(section), _settings_tree(section, key, 3)]
    parts += [
        "## Other jobs",
        "`jobs/conditions.py` takes a run with the section [`conditions`](#conditions); "
        "`jobs/benchmark.py` takes `run_id`, `root`, `data_dir`, `spark`, `importance` and the "
        "section [`benchmark`](#benchmark).",
    ]
    return "\n\n".join(parts) + "\n"


def _about(section: griffe.Class) -> str:
    """What the module of a section is for, and what its docstring says beside the settings."""
    stated = _sentence(re.sub(r"^The section ``\w+``[.:]? ?", "", _first(section)) or "").strip(".")
    module = section.module
    told = f"Module `{module.path}`: {_inline(_first(module))}"
    return f"{told}\n\n{_inline(_sentence(stated))}" if stated else told


def _table_page(sources: griffe.Module) -> str:
    module = sources["tables"]
    parts = [
        "# Tables",
        "All are Delta tables in `<root>/tables`, partitioned by `run_id`, the first column of "
        "each: the run that a row is of. A run replaces its own rows in one commit and touches no "
        "other run's; the commit's metadata names the run, the hash of its config, the revision "
        "of the code and the versions of the tables that were read.",
    ]
    for member in _own_attributes(module).values():
        call = _call(member)
        if call is None or ast.unparse(call.func) != "Table":
            continue
        table, stage, *rest = (ast.literal_eval(one) for one in call.args)
        about = [part for part in _text(member).split("\n\n") if not part.startswith("Attributes:")]
        parts += [f"## `{table}`", f"Written by {_writer(sources, stage)}.", *map(_inline, about)]
        meanings = _attributes(member)
        columns = re.findall(r"(\w+) ([\w<>]+)( not null)?(?:, |$)", rest[0]) if rest else []
        rows = [
            (f"`{name}`", f"`{kind}`", "no" if known else "yes", _inline(_sentence(meanings[name])))
            for name, kind, known in columns
        ]
        rows += [
            (f"`{c}`", "", "", _inline(_sentence(text)))
            for c, text in meanings.items()
            if c not in {column for column, _, _ in columns}
        ]
        parts.append(_table(("column", "type", "may be null", "meaning"), rows))
        if len(rest) > 1:
            checks = ", ".join(f"`{check}`" for check in rest[1].values())
            parts.append(f"Delta refuses rows that break {checks}.")
    return "\n\n".join(parts) + "\n"


def _writer(sources: griffe.Module, stage: str) -> str:
    module = next(one for one in sources["stages"].modules.values() if stage in one.functions)
    return f"[`{stage}`](stages/{module.name}.md)"


def _mechanisms(sources: griffe.Module) -> str:
    """What the stage diagnose advises, as a table."""
    advice = sources["mechanisms.findings"].members["ADVICE"]
    lists = {
        name: _python(member.value)
        for name, member in _own_attributes(sources["mechanisms.findings"]).items()
        if isinstance(_python(member.value), tuple)
    }
    told = ast.parse(str(advice.value), mode="eval").body
    assert isinstance(told, ast.Dict)
    rows = []
    for key, call in zip(told.keys, told.values, strict=True):
        assert isinstance(call, ast.Call)
        suggests, warns, text = call.args
        named = [_links(_spread(one, lists)) for one in (suggests, warns)]
        rows.append((str(ast.literal_eval(key)), *named, _inline(ast.literal_eval(text))))
    return _table(("what is visible", "to try", "with care", "and"), rows)


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


def _conditions() -> str:
    """The worlds of the benchmarks, and in what they differ from one in which nothing is wrong."""
    rows = []
    for path in ("conditions", "delays"):
        told = yaml.safe_load((_ROOT / "conf" / "benchmark" / f"{path}.yaml").read_text())
        for name, own in told["conditions"]["worlds"].items():
            differs = ", ".join(f"`{key}: {value}`" for key, value in own.items()) or "nothing"
            rows.append((f"`{path}.yaml`", f"`{name}`", differs))
    return _table(("file", "condition", "settings of `simulation` that differ"), rows)
