"""YAML with comments."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from yaml import YAMLError

from reweight.core.yaml_text import parsed

_WIDTH = 100


class Page:
    """Lines of YAML, the comments above what they explain."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def comment(self, depth: int, *texts: str) -> None:
        """Adds comments, each from a line of its own."""
        for text in texts:
            start = "  " * depth + "# "
            self.lines += textwrap.wrap(
                " ".join(_printable(text).split()),
                _WIDTH,
                initial_indent=start,
                subsequent_indent=start + "  ",
                break_long_words=False,
                break_on_hyphens=False,
            )

    def off(self, depth: int, key: str, value: Any, why: str = "") -> None:
        """Adds a setting that is commented out, with the reason to take it."""
        if why:
            self.comment(depth, f"{why}:")
        self.lines.append(f"{'  ' * depth}# {key}: {_value(value)}")

    def set(self, depth: int, key: str, value: Any = None) -> None:
        """Adds a setting; without a value it begins a section."""
        end = "" if value is None else f" {_value(value)}"
        self.lines.append(f"{'  ' * depth}{key}:{end}")

    def blank(self) -> None:
        """Adds an empty line."""
        self.lines.append("")

    @property
    def text(self) -> str:
        """The file."""
        return "\n".join(self.lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_scalar(v, True)}" for k, v in value.items()) + "}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ", ".join(_scalar(v, True) for v in value) + "]"
    return _scalar(value, False)


def _scalar(value: Any, inside: bool) -> str:
    """A value as YAML reads it back."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return _value(value)
    if isinstance(value, str):
        value = value.replace("${", "\\${")  # a text of the log, and no key of the config
    text = str(value)
    if not text:
        return "''"
    try:
        plain = parsed(f"[{text}]")[0] if inside else parsed(f"k: {text}")["k"]
    except (YAMLError, ValueError, TypeError):
        plain = None
    if plain in (value, text):
        return text
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text)
