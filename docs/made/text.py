"""Markdown of tables, sentences and docstrings."""

import re
from typing import Any

import griffe
import yaml

_SYMBOLS = r"(?:alpha|eta|gamma|lambda|lr|pi|theta)\b"


def markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table; cells may hold what divides cells."""

    def told(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([told(head), "|" + "---|" * len(head), *map(told, rows)])


def inline(text: str) -> str:
    """A docstring's line as Markdown: what looks like HTML is none."""
    parts = re.split(r"(`+[^`]+`+)", text)
    parts[::2] = [re.sub(r"<(?=[A-Za-z/])", "&lt;", part) for part in parts[::2]]
    return "".join(parts)


def sentence(text: str) -> str:
    """With a capital, unless it begins with a symbol, and a full stop."""
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    begins_with_word = re.match(rf"(?!{_SYMBOLS})(?:[a-z]{{2,}}[ ,;:.-]|a )", text) is not None
    return text[0].upper() + text[1:] if begins_with_word else text


def indented(text: str) -> str:
    """As the body of a block."""
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def admonitions(one: griffe.Object) -> list[str]:
    """The sections of a docstring that have a name, as Reads."""
    return [
        f'!!! {section.value.kind} "{section.title}"\n\n{indented(section.value.contents)}'
        for section in (one.docstring.parsed if one.docstring else ())
        if section.kind is griffe.DocstringSectionKind.admonition
    ]


def documented(path: str, **options: Any) -> str:
    """A docstring, by mkdocstrings."""
    told = yaml.safe_dump({"options": options}) if options else ""
    return f"::: {path}\n" + "".join(f"    {line}\n" for line in told.splitlines())
