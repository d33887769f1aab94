"""Tables of the settings of a config class: type, default and meaning."""

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
    literal,
    own_attributes,
    resolved,
    sections_in,
)
from made.text import inline, markdown_table, sentence

_KINDS = {
    "Name": "name",
    "Names": "list of names",
    "MethodName": "name",
    "Text": "text",
    "Texts": "list of text",
    "Place": "path",
    "RunId": "name",
    "Folder": "path",
    "SchemaName": "schema (`main.reweight`)",
    "TableName": "table (`main.shop.events`)",
    "Sql": "SQL",
    "Seconds": "duration (`3 days`)",
    "Share": "number in (0, 1)",
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "true or false",
    "None": "null",
    "date": "date",
    "Method": "method",
}

# The default of a setting that a preset sets.
_PRESET = "by `preset`"
_LIMITS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


@dataclass(frozen=True)
class Setting:
    """A field of a config class.

    Attributes:
        key: its name in a config file.
        kind: its type, in the words of someone who writes a config.
        default: as it would stand in the file, or a word for none.
        meaning: its entry in the section Attributes of the docstring.
        nested: the config classes that it consists of.
    """

    key: str
    kind: str
    default: str
    meaning: str
    nested: tuple[griffe.Class, ...]


def settings_of(owner: griffe.Class, *, preset: bool = False) -> list[Setting]:
    """The fields of a class and of its bases, those of the bases first.

    Args:
        owner: the config class.
        preset: whether a preset sets what has no default; so it is where there is a field `preset`.

    Raises:
        ValueError: a field has no meaning in any docstring.
    """
    classes, fields = ancestry(owner), {}
    is_method = any(kind.name == "ImportanceMethod" for kind in classes)
    for kind in reversed(classes):
        for name, member in own_attributes(kind).items():
            # griffe labels an annotated ClassVar as a class attribute only.
            is_field = member.annotation is not None and "instance-attribute" in member.labels
            if is_field and not name.startswith("_"):
                fields[name] = member
    settings = []
    for name, member in fields.items():
        # The same for every method, and described with the method.
        if is_method and name in ("method", "name"):
            continue
        nested = tuple(sections_in(member.parent, str(member.annotation)))
        meanings = [described(kind).get(name) for kind in classes]
        meaning = next((text for text in meanings if text is not None), None)
        if meaning is None and nested:
            meaning = first_paragraph(nested[0])
        if meaning is None:
            raise ValueError(
                f"{owner.path}.{name} has no meaning; describe it under Attributes of the docstring"
            )
        default, alias = _default(member, preset=preset or "preset" in fields)
        annotation = ast.parse(str(member.annotation), mode="eval").body
        kind = _kind(annotation, member.parent) + _limits(member)
        default = _with_unit(default, member)
        settings.append(Setting(alias or name, kind, default, meaning, nested))
    return settings


def settings_table(settings: list[Setting]) -> str:
    """A table with a row for each setting."""
    rows = [(f"`{s.key}`", s.kind, s.default, inline(sentence(s.meaning))) for s in settings]
    return markdown_table(("setting", "type", "default", "meaning"), rows)


def settings_tree(owner: griffe.Class, key: str, level: int, *, preset: bool = False) -> str:
    """The table of a class's settings, followed by those of its nested classes.

    Args:
        owner: the config class.
        key: its key in a config file, dotted.
        level: of the headings of the nested classes.
        preset: as in ``settings_of``.
    """
    settings = settings_of(owner, preset=preset)
    parts = [settings_table(settings)] if settings else []
    for setting in settings:
        place = f"{key}.{setting.key}"
        each = " (each)" if setting.kind.startswith(("list", "name →")) else ""
        for nested in setting.nested:
            variant = f": {nested.name}" if len(setting.nested) > 1 else ""
            anchor = f"{place}{variant}".replace(": ", "-").replace(".", "-")
            parts += [
                f"{'#' * level} `{place}`{each}{variant} {{#{anchor}}}",
                inline(sentence(first_paragraph(nested))),
                settings_tree(nested, place, level, preset=setting.default == _PRESET),
            ]
            if setting.default.startswith("`{"):
                parts.append(
                    f"If you set `{setting.key}`, keys that you omit take the defaults of this "
                    f"table, not those of {setting.default}."
                )
    return "\n\n".join(parts)


def _default(member: griffe.Attribute, *, preset: bool) -> tuple[str, str | None]:
    """The default as a config file would have it, and the field's alias there, if any."""
    none = _PRESET if preset else "required"
    if member.value is None:
        return none, None
    call = called(member)
    if call is None or not (isinstance(call.func, ast.Name) and call.func.id == "Field"):
        return _yaml(ast.parse(str(member.value), mode="eval").body), None
    arguments = {word.arg: word.value for word in call.keywords}
    alias = ast.literal_eval(arguments["alias"]) if "alias" in arguments else None
    return (_yaml(arguments["default"]) if "default" in arguments else none), alias


def _with_unit(default: str, member: griffe.Attribute) -> str:
    """A default that is a duration as a config file has it, such as `10 minutes`."""
    number = default.strip("`")
    kind = resolved(member.parent, "Seconds") if "Seconds" in str(member.annotation) else None
    if kind is None or not number.isdigit():
        return default
    units: dict[str, int] = literal(kind.parent.members["_UNITS"].value)
    unit = max((u for u, size in units.items() if int(number) % size == 0), key=units.__getitem__)
    many = int(number) // units[unit]
    return f"`{many} {unit}{'' if many == 1 else 's'}`"


def _yaml(value: ast.expr) -> str:
    """A default in YAML's notation, as code."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "date":
        return f"`{date(*[ast.literal_eval(part) for part in value.args]).isoformat()}`"
    if isinstance(value, ast.Call):
        arguments = ", ".join(f"{word.arg}: {_plain(word.value)}" for word in value.keywords)
        return f"`{{{arguments}}}`" if arguments else "as below"
    text = _plain(value)
    return f"`{text}`" if text else "none"


def _plain(value: ast.expr) -> str:
    try:
        default = ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)
    if isinstance(default, tuple):
        default = list(default)
    if default in ({}, []) or default is None:
        return {"{}": "", "[]": "", "None": "null"}[str(default)]
    return yaml.safe_dump(default, default_flow_style=True, width=1000).split("\n")[0]


def _kind(node: ast.expr, owner: griffe.Object) -> str:
    """A type in the words of someone who writes a config.

    Args:
        node: the annotation.
        owner: an object of the module in which the annotation's names are defined.
    """
    match node:
        case ast.BinOp(left=left, right=right):
            return " or ".join(dict.fromkeys((_kind(left, owner), _kind(right, owner))))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            choices = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return " or ".join(f"`{ast.literal_eval(choice)}`" for choice in choices)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[kind, *_])):
            return _kind(kind, owner)
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, value])):
            values = _kind(value, owner)
            return f"{_kind(key, owner)} → {f'({values})' if '→' in values else values}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=parts)):
            if isinstance(parts[-1], ast.Constant) and parts[-1].value is ...:
                return f"list of {_many(_kind(parts[0], owner))}"
            kinds = [_kind(part, owner) for part in parts]
            same = len(set(kinds)) == 1
            return f"{len(kinds)} {_many(kinds[0])}" if same else f"list: {', '.join(kinds)}"
        case ast.Name(id=name):
            return _KINDS.get(name) or _named_kind(name, owner)
        case ast.Constant(value=None):
            return "null"
    return ast.unparse(node)


def _many(kind: str) -> str:
    return re.sub(r"^(integer|number|name|duration|method|section)\b", r"\1s", kind)


def _named_kind(name: str, owner: griffe.Object) -> str:
    """The type that a name refers to: an alias of another type, or a section."""
    target = resolved(owner, name)
    if isinstance(target, griffe.Attribute):
        return _kind(ast.parse(str(target.value), mode="eval").body, target.parent)
    return "section (see below)"


def _limits(member: griffe.Attribute) -> str:
    call = called(member)
    limits = [
        f"{_LIMITS[word.arg]} {ast.unparse(word.value).replace(' ** ', '^')}"
        for word in (call.keywords if call else ())
        if word.arg in _LIMITS
    ]
    return f", {' and '.join(limits)}" if limits else ""
