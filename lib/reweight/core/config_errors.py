"""Validation errors of a config as one named error, with the lines that were meant."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from reweight.core.errors import ConfigError
from reweight.core.known_keys import meant_key

_EXPECTED = {
    "missing": "missing",
    "extra_forbidden": "unknown key",
    "string_type": "expected a text",
    "tuple_type": "expected a list",
    "dict_type": "expected keys with their values",
    "model_type": "expected keys with their values",
    "model_attributes_type": "expected keys with their values",
}


# The keys of a path, and the numbers of the items of lists.
Keys = tuple[int | str, ...]


def all_errors(
    what: str,
    expected: str,
    error: ValidationError,
    kind: Any,
    moved: Mapping[Keys, Keys] | None = None,
) -> ConfigError:
    """All validation errors in one message.

    Args:
        what: one line that names the problem.
        expected: what would have been right.
        error: the errors that pydantic found.
        kind: the type that the values were validated as.
        moved: place of a section at validation -> its place in the file, where they differ.
    """
    lines = []
    for details in error.errors(include_url=False):
        # A rule of several sections begins its message with the keys that it is about.
        key = ".".join(map(str, _written(details["loc"], moved or {})))
        message = _EXPECTED.get(details["type"], details["msg"]).removeprefix("Value error, ")
        # What a rule of a whole section refuses is in its message.
        is_section = details["type"] == "missing" or isinstance(details["input"], Mapping)
        got = "" if is_section else f" (got: {str(details['input'])[:80]!r})"
        meant = f"; {line}" if (line := _meant(details, kind)) else ""
        lines.append(
            f"\n    {key}: {message}{got}{meant}" if key else f"\n    {message}{got}{meant}"
        )
    return ConfigError(
        what,
        expected=expected,
        got=f"{len(lines)} error(s):" + "".join(lines),
        fix="correct each key listed above",
    )


def _written(place: Keys, moved: Mapping[Keys, Keys]) -> Keys:
    """A place as the file has it."""
    for at, written in moved.items():
        if place[: len(at)] == at:
            return written + place[len(at) :]
    return place


def check_quotes(values: Any) -> None:
    """Checks that YAML did not cut an expression in two at a comma.

    In ``{same: int(substr(x, 1, 2) = 'a')}`` the text after each comma is a key without a value.

    Raises:
        ConfigError: it did; the error has the lines with quotes.
    """
    if cut := list(_cut(values, "")):
        raise ConfigError(
            "YAML cuts expressions in braces or brackets at their commas",
            expected="quotes around an expression with a comma, or one key per line",
            got=f"{len(cut)} expression(s) in parts",
            fix="".join(f"\n    write {line}" for line in cut).lstrip(),
        )


def in_quotes(text: str) -> str:
    """The text as YAML in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _cut(values: Any, at: str) -> Iterator[str]:
    if isinstance(values, Mapping):
        items = [(str(key), value) for key, value in values.items()]
        # A part is a key without a value; a list's are items of their own.
        tails = [key if value is None else None for key, value in items]
        texts = [value if isinstance(value, str) else None for _, value in items]
        labels = [f"{key}: " for key, _ in items]
    elif isinstance(values, list):
        texts = tails = [value if isinstance(value, str) else None for value in values]
        labels, items = ["- " for _ in values], [(str(i), v) for i, v in enumerate(values)]
    else:
        return
    for index, text in enumerate(texts):
        joined, following = text, index + 1
        while joined and _open(joined) > 0 and following < len(tails) and tails[following]:
            joined, following = f"{joined}, {tails[following]}", following + 1
        if joined and following > index + 1 and _open(joined) == 0:
            yield f"{labels[index]}{in_quotes(joined)} under {at}"
    for key, value in items:
        yield from _cut(value, f"{at}.{key}".lstrip("."))


def _open(text: str) -> int:
    """Number of brackets that are opened and not closed, outside of quotes."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "", text)
    return bare.count("(") - bare.count(")")


def _meant(details: Any, model: Any) -> str | None:
    """The line that was probably meant."""
    kind, value, loc = details["type"], details["input"], details["loc"]
    key = next((str(part) for part in reversed(loc) if not isinstance(part, int)), "")
    if loc[:1] == ("importance",) and isinstance(value, str) and "attributes" in kind:
        return f"write - {{method: {value}}}"
    if "similarity" in loc:
        return f"write the names of two texts of features.text, such as {key}: [query, title]"
    if kind == "string_pattern_mismatch" and isinstance(value, str) and "[A-Za-z_]" in str(details):
        return _plain(value)
    if kind in ("tuple_type", "list_type") and isinstance(value, str | int | float):
        return f"write {key}: [{value}]"
    if kind == "dict_type" and isinstance(value, list):
        return "write a name for each: " + f"{key}: {{{', '.join(f'{v}: {v}' for v in value)}}}"
    if kind in ("model_type", "model_attributes_type") and isinstance(value, str):
        return (
            f"write {key}: {{value: {value}}}"
            if {"categorical", "one_hot", "text"} & set(loc)
            else (f"write the keys of {key} below it, such as {key}: {{...: {value}}}")
        )
    if kind == "string_type":
        return _as_text(key, value)
    if kind == "missing" and "shares" in loc:
        return "write all of its parts, such as [0.6, 0.2, 0.2]"
    if kind == "missing" and isinstance(loc[-1], int):
        example = ", such as [0, null] for a range without an upper limit"
        return "write all of its parts" + (example if "ranges" in loc else "")
    if kind == "extra_forbidden" and "." in key:
        whole = ".".join(map(str, loc))
        # Of an item of a list the path has the number and the kind, which a file does not.
        in_list = any(isinstance(part, int) for part in loc)
        first, *rest = (key if in_list else whole).split(".")
        line = f"{first}: " + "".join(f"{{{part}: " for part in rest) + "..." + "}" * len(rest)
        hint = f"in a file, write {line}; a key with dots is for the command line"
        return hint if in_list else f"{hint}, {whole}=..."
    if kind == "extra_forbidden":
        return meant_key(model, loc)
    return None


def _plain(name: str) -> str:
    """A name without the characters that are not allowed."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    plain = plain if re.match("[A-Za-z_]", plain) else f"_{plain}"
    return (
        f"a name has letters, digits and `_`; write {plain[:64]}"
        if plain != "_"
        else ("a name has letters, digits and `_`")
    )


def _as_text(key: str, value: Any) -> str | None:
    """The line for a key that is a text."""
    if value is None:
        return f"YAML reads nothing, null and a lone ~ as no value; write {key}: '...'"
    if isinstance(value, list) and len(value) == 1:
        return f"write {key}: {value[0]}"
    if isinstance(value, list):
        if key == "path":
            return "write one path with wildcards, such as /data/*.csv, or a source for each"
        return f"write one expression, such as {key}: concat_ws('/', {', '.join(map(str, value))})"
    if isinstance(value, Mapping):
        return f"write {key}: followed by one text; quote a text that has `: ` or braces"
    return None
