"""Markdown for tables, sentences and docstrings."""

import re
from typing import Any

import griffe
import yaml

_SYMBOLS = r"(?:alpha|eta|gamma|lambda|lr|pi|theta)\b"


def markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; `|` in cells is escaped."""

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def inline(text: str) -> str:
    """Docstring text as Markdown: `<` outside of code does not open an HTML tag."""
    parts = re.split(r"(`+[^`]+`+)", text)
    parts[::2] = [re.sub(r"<(?=[A-Za-z/])", "&lt;", part) for part in parts[::2]]
    return "".join(parts)


def sentence(text: str) -> str:
    """The text with a capital, unless it begins with a symbol, and a full stop."""
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    begins_with_word = re.match(rf"(?!{_SYMBOLS})(?:[a-z]{{2,}}[ ,;:.-]|a )", text) is not None
    return text[0].upper() + text[1:] if begins_with_word else text


def indented(text: str) -> str:
    """The text indented by four spaces, as the body of a block."""
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def admonitions(item: griffe.Object) -> list[str]:
    """The named sections of a docstring that are not Google's own, such as Reads."""
    return [
        f'!!! {section.value.kind} "{section.title}"\n\n{indented(section.value.contents)}'
        for section in (item.docstring.parsed if item.docstring else ())
        if section.kind is griffe.DocstringSectionKind.admonition
    ]


def documented(path: str, **options: Any) -> str:
    """The directive that makes mkdocstrings render a docstring."""
    block = yaml.safe_dump({"options": options}) if options else ""
    return f"::: {path}\n" + "".join(f"    {line}\n" for line in block.splitlines())
