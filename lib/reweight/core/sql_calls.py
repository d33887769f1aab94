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
_TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|[\w.]+|::|\S")
_TYPE = re.compile(r"\s*(\w+(?:\s*\([\d\s,]*\))?)")
# Words between values; other words are values, functions, or go on with a call (OVER, FILTER).
_BETWEEN = {
    *("and", "or", "not", "case", "when", "then", "else", "end", "in", "is", "like", "rlike"),
    *("ilike", "between", "div", "as", "distinct", "partition", "order", "by", "asc", "desc"),
    *("interval", "from", "where"),
}


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
    """The calls in an expression, the inner ones first; ``x::type`` is ``cast(x AS type)``."""
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
    yield from _colon_casts(sql)


def replaced(sql: str, call: Call, by: str) -> str:
    """The expression with something else in the place of a call."""
    return re.sub(rf"(?<![\w.`:]){re.escape(call.text)}(?!\w)", lambda _: by, sql)


def _colon_casts(sql: str) -> Iterator[Call]:
    begin: int | None = None  # of the value that ends here
    opened: list[int | None] = []
    after, before = 0, ""
    for token in _TOKEN.finditer(sql):
        text, goes_on = token[0], begin is not None and before.endswith((".", ":"))
        if token.start() < after:
            continue  # The name of a type.
        if text == "::":
            kind = _TYPE.match(sql, token.end())
            if begin is not None and kind:
                cast = f"{sql[begin : token.start()].strip()} AS {kind[1]}"
                yield Call("cast", sql[begin : kind.end()], (cast,))
                after = kind.end()
            text = ""
        elif text in "([":
            opened.append(token.start() if begin is None else begin)
            begin = None
        elif text in ")]":
            begin = opened.pop() if opened else None
        elif text.lower() in _BETWEEN:
            begin = None
        elif re.match(r"[\w.'\"`]", text):
            # A quote after a word is part of a literal, such as DATE '2024-03-01'.
            literal = text[0] in "'\"" and re.fullmatch(r"\w+", before)
            if begin is None or not (goes_on or literal or text[0] == "." or before == ")"):
                begin = token.start()
        elif text != ":":
            begin = None
        before = text


def words(sql: str) -> list[str]:
    """What may be the name of a column, or of a field in one, each once, in order."""
    outside = re.sub(r"'[^']*'", "''", sql)
    return list(dict.fromkeys(_WORD.findall(outside)))
