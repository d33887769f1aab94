"""JSON documents, and the DDL that reads them."""

import json
import re
from collections.abc import Sequence
from typing import Any

from reweight.core.section import quoted

_DECODER = json.JSONDecoder()
_LONG = 2**63


def documents(line: str) -> list[dict[str, Any]]:
    """The documents on a line; none if something on it is not a whole document."""
    read: list[dict[str, Any]] = []
    while line := line.strip():
        try:
            document, end = _DECODER.raw_decode(line)
        except ValueError:
            return []
        if not isinstance(document, dict):
            return []
        read.append(document)
        line = line[end:]
    return read


def schema_of(read: Sequence[dict[str, Any]]) -> str:
    """The DDL of a document that has the fields of all of them."""
    return ", ".join(f"{_quoted(name)} {kind}" for name, kind in _fields(read).items())


def _fields(read: Sequence[dict[str, Any]]) -> dict[str, str]:
    values: dict[str, list[Any]] = {}
    for document in read:
        for name, value in document.items():
            values.setdefault(name, []).append(value)
    return {name: _type(of_name) for name, of_name in values.items()}


def _type(values: Sequence[Any]) -> str:
    present = [v for v in values if v is not None]
    if not present:
        return "string"
    if all(isinstance(v, bool) for v in present):
        return "boolean"
    if any(isinstance(v, bool) for v in present):
        return "string"
    if all(isinstance(v, int) for v in present):
        return "bigint" if all(-_LONG <= v < _LONG for v in present) else "string"
    if all(isinstance(v, int | float) for v in present):
        return "double"
    if all(isinstance(v, dict) for v in present) and any(present):
        inner = _fields(present).items()
        return f"struct<{', '.join(f'{_quoted(name)}: {kind}' for name, kind in inner)}>"
    if all(isinstance(v, list) for v in present):
        return f"array<{_type([item for v in present for item in v])}>"
    return "string"


def _quoted(name: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_]\w*", name)
    return name if plain else quoted(name)
