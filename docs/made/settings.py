"""Tables of the settings of a config class: what each takes, its default, and its meaning."""

import ast
import re
from dataclasses import dataclass
from datetime import date

import griffe
import yaml

from made.classes import (
    ancestry,
    called,
    described,
    first_paragraph,
    own_attributes,
    resolved,
    sections_in,
)
from made.text import inline, markdown_table, sentence

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


@dataclass(frozen=True)
class Setting:
    """A field of a config class."""

    key: str
    kind: str
    default: str
    meaning: str
    nested: tuple[griffe.Class, ...]


def settings_of(owner: griffe.Class) -> list[Setting]:
    """The fields of a class and of its bases, the bases' first."""
    line, names = ancestry(owner), {}
    for one in reversed(line):
        for name, member in own_attributes(one).items():
            # Annotated, and no ClassVar.
            field = member.annotation is not None and "instance-attribute" in member.labels
            if field and not name.startswith("_"):
                names[name] = member
    found = []
    for name, member in names.items():
        if name in ("method", "name", "model_config"):
            continue
        nested = tuple(sections_in(member.parent, str(member.annotation)))
        meaning = next((own[name] for one in line if name in (own := described(one))), None)
        if meaning is None and nested:
            meaning = first_paragraph(nested[0])
        if meaning is None:
            raise ValueError(f"{owner.path}.{name} is in no section Attributes of a docstring")
        default, alias = _default(member, presets=any(n == "preset" for n in names))
        annotation = ast.parse(str(member.annotation), mode="eval").body
        kind = _kind(annotation, member.parent) + _limits(member)
        found.append(Setting(alias or name, kind, default, meaning, nested))
    return found


def settings_table(settings: list[Setting]) -> str:
    """A row for each setting."""
    rows = [
        (f"`{one.key}`", one.kind, one.default, inline(sentence(one.meaning))) for one in settings
    ]
    return markdown_table(("setting", "what it takes", "default", "meaning"), rows)


def settings_tree(owner: griffe.Class, key: str, level: int) -> str:
    """The table of a class's settings, and those of the classes that they are made of."""
    settings = settings_of(owner)
    parts = [settings_table(settings)] if settings else []
    for one in settings:
        place = f"{key}.{one.key}"
        each = " (each)" if one.kind.startswith(("list", "name →")) else ""
        for nested in one.nested:
            own = f": {nested.name}" if len(one.nested) > 1 else ""
            anchor = f"{place}{own}".replace(": ", "-").replace(".", "-")
            parts += [
                f"{'#' * level} `{place}`{each}{own} {{#{anchor}}}",
                inline(sentence(first_paragraph(nested))),
                settings_tree(nested, place, level),
            ]
            if one.default.startswith("`{"):
                parts.append(
                    f"Where `{one.key}` is given, what it leaves out is as this table has it, and "
                    f"not as in {one.default}."
                )
    return "\n\n".join(parts)


def _default(member: griffe.Attribute, *, presets: bool) -> tuple[str, str | None]:
    """The default as the config would say it, and the field's name there if it is another."""
    none = "by `preset`" if presets else "required"
    if member.value is None:
        return none, None
    call = called(member)
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
    found = resolved(owner, name)
    if isinstance(found, griffe.Attribute):
        return _kind(ast.parse(str(found.value), mode="eval").body, found.parent)
    return "section, see below"


def _limits(member: griffe.Attribute) -> str:
    call = called(member)
    told = [
        f"{_LIMITS[word.arg]} {ast.unparse(word.value).replace(' ** ', '^')}"
        for word in (call.keywords if call else ())
        if word.arg in _LIMITS
    ]
    return f", {' and '.join(told)}" if told else ""
