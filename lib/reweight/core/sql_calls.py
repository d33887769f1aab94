"""The function calls in a text of SQL, found by its parentheses; Spark itself checks the SQL."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_QUOTES = "'\"`"
_NAME = re.compile(r"(\w+)\s*\Z")
# Longer than any name of a function; looking further back would be quadratic.
_LONGEST = 80
_WORD = re.compile(r"`[^`]+`|[A-Za-z_]\w*(?:\.\w+)*")


@dataclass(frozen=True)
class Call:
    """A call such as ``try_cast(ts AS bigint)``.

    Attributes:
        name: the function, in lower case.
        text: the whole call.
        arguments: the arguments; ``x AS type`` of a cast is one of them.
    """

    name: str
    text: str
    arguments: tuple[str, ...]


def calls(sql: str) -> Iterator[Call]:
    """The calls in an expression, the inner ones first."""
    opened: list[tuple[int, list[int]]] = []
    quote = ""
    for i, character in enumerate(sql):
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        elif character == "(":
            opened.append((i, [i]))
        elif character == "," and opened:
            opened[-1][1].append(i)
        elif character == ")" and opened:
            start, commas = opened.pop()
            if name := _NAME.search(sql, max(0, start - _LONGEST), start):
                cuts = [*commas, i]
                parts = [sql[a + 1 : b].strip() for a, b in pairwise(cuts)]
                yield Call(name[1].lower(), sql[name.start() : i + 1], tuple(parts))


def words(sql: str) -> list[str]:
    """What may be the name of a column, or of a field in one, each once, in order."""
    outside = re.sub(r"'[^']*'", "''", sql)
    return list(dict.fromkeys(_WORD.findall(outside)))
