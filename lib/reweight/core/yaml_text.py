"""YAML -> values, without changing what was written.

YAML reads 0101 as 65, 1.10 as 1.1, 2026_01_31 as a number and yes as true. Where a text is expected
(a name, a value to compare with), that would be another text. So only what is written in its plain
form becomes a number, only true and false become booleans, and everything else stays text, which a
key that is a number or a boolean still understands.
"""

import re
from typing import Any

import yaml
from yaml.error import MarkedYAMLError

from reweight.core.config_errors import in_quotes

_BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
_RESOLVED = {
    _BOOL: (re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    _INT: (re.compile(r"^(?:0|-?[1-9][0-9]*)$"), "-0123456789"),
    _FLOAT: (
        re.compile(
            r"^(?:-?(?:0|[1-9][0-9]*)\.[0-9]+|[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        "-+0123456789.",
    ),
}
_NULL, _MERGE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads scalars in their plain form only, and refuses a key that is there twice."""

    yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in resolvers if tag in (_NULL, _MERGE)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_yaml_float(self, node: Any) -> Any:
        """The number; its text if the number would be written otherwise."""
        number = super().construct_yaml_float(node)
        exact = repr(number) == node.value or not re.fullmatch(r"-?[0-9]+\.[0-9]+", node.value)
        return number if exact else node.value

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping whose keys differ."""
        keys = [(key.value, key.start_mark) for key, _ in node.value if key.tag != _MERGE]
        for index, (key, mark) in enumerate(keys):
            if key in [earlier for earlier, _ in keys[:index]]:
                raise yaml.constructor.ConstructorError(
                    "while constructing a mapping",
                    node.start_mark,
                    f"found duplicate key {key}",
                    mark,
                )
        return super().construct_mapping(node, deep=deep)


for _tag, (_regexp, _first) in _RESOLVED.items():
    _Loader.add_implicit_resolver(_tag, _regexp, list(_first))
_Loader.add_constructor(_FLOAT, _Loader.construct_yaml_float)


def parsed(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        YAMLError: the text is not YAML.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)


def meant(error: Exception, text: str) -> str | None:
    """What the line was probably meant to be; None if that cannot be told.

    Args:
        error: what ``parsed`` raised.
        text: the text that it was given.
    """
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return None
    lines, number = text.splitlines(), error.problem_mark.line
    line = lines[number] if number < len(lines) else ""
    problem = error.problem or ""
    if "duplicate key" in problem:
        if _CALL.search(line):
            return _at(number, line, "quote an expression with a comma")
        return f"line {number + 1}: `{line.strip()}` appears twice; merge the two into one"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"line {number + 1}: indent with spaces, since YAML allows no tabs"
    return _at(number, line, "quote the value", error.problem_mark.column) if ": " in line else None


# A value in braces with commas in its parentheses: `name: call(a, b)`.
_CALL = re.compile(
    r"(\w+): ((?:[^,(){}\[\]]*\((?:[^()]|\([^()]*\))*,(?:[^()]|\([^()]*\))*\))[^,}]*)"
)


def _at(number: int, line: str, problem: str, column: int = 0) -> str:
    """The line, or what goes wrong in its column, with its value in quotes."""
    entry = re.match(r"\s*(?:- )?([\w.]+): *([^ {\[#].*)$", line)
    parts = [entry.groups()] if entry else _CALL.findall(line)
    key = re.search(r"([\w.]+): *$", line[:column])
    if key and not parts:
        value = re.match(r"`[^`]*`[^,}]*|[^,}]*", line[column:])
        parts = [(key[1], value[0])] if value else []
    quoted = ", ".join(f"{key}: {in_quotes(value.strip())}" for key, value in parts)
    return f"line {number + 1}: {problem}: {quoted or line.strip()}"
