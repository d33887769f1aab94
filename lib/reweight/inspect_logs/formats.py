"""The format of a file, seen by its name and its first bytes."""

import bz2
import csv
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from reweight.clean_logs.csv_lines import LINE_BREAK, NUMERIC
from reweight.core.errors import SourceError
from reweight.inspect_logs.documents import documents, schema_of

# So many bytes and lines of a file are looked at.
HEAD = 1 << 20
_LINES = 1000

_BINARY = {
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    b"\x28\xb5\x2f\xfd": ("packed with zstd", "unpack the first file, and inspect that"),
    b"Obj\x01": ("Avro", "convert it to Parquet"),
    b"ORC": ("ORC", "convert it to Parquet"),
    b"SQLite format 3": ("an SQLite database", "export the table as CSV"),
    b"%PDF": ("a PDF", "export the data as CSV"),
}
# Control characters that texts have: tab, line and page ends, Hive's separator, escape.
_IN_TEXTS = b"\x01\t\n\x0b\f\r\x1b"
_SEPARATORS = {
    "::": "two colons", ",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars",
    "\x01": "the character 1, as Hive writes it", "~": "tildes",
}  # fmt: skip
_NUMBER_OR_TIME = re.compile(r"[+-]?[\d.,]*\d[\d.,]*(e[+-]?\d+)?|\d{1,4}[-/.:]\d.*", re.IGNORECASE)
_TITLE = re.compile(r"[^\W\d][\w .:/()#%-]{0,63}")


@dataclass(frozen=True)
class Form:
    """How a file is read.

    Attributes:
        format: ``csv``, ``json``, ``parquet`` or ``delta``.
        options: options of the CSV reader.
        schema: DDL of a JSON document.
        compression: how the file is packed, if its name does not say so.
        evidence: what was seen.
    """

    format: str
    options: dict[str, str] = field(default_factory=dict)
    schema: str | None = None
    compression: str | None = None
    evidence: tuple[str, ...] = ()


def seen(name: str, head: bytes, given: str | None = None) -> Form:
    """The format of a file.

    Args:
        name: its name.
        head: its first bytes, at most ``HEAD``.
        given: the format, if the user has named it.

    Raises:
        SourceError: the file is empty, or of a format that cannot be read.
    """
    is_whole = len(head) < HEAD
    if head[:4] == b"PAR1":
        return Form("parquet", evidence=("the file begins with PAR1: Parquet",))
    head, packed, evidence = _unpacked(name, head)
    for magic, (kind, fix) in _BINARY.items():
        if head.startswith(magic):
            _refuse(name, kind, fix)
    text, encoding = _decoded(head, is_whole)
    if encoding == "windows-1252" and (count := _controls(head)) > len(head) // 100:
        kind = f"not text: {count:,} of its first {len(head):,} bytes are control characters"
        _refuse(name, kind, "name a file with lines of text, or convert it to CSV or Parquet")
    if not text.strip():
        _refuse(name, "empty", "name a file with rows")
    if given == "json" or (given is None and text.lstrip()[0] in "{["):
        form = _json(name, text)
    elif given in (None, "csv"):
        form = _csv(text, encoding)
    else:
        _refuse(name, "text", f"leave out --format {given}")
    return Form(form.format, form.options, form.schema, packed, (*evidence, *form.evidence))


def _controls(head: bytes) -> int:
    """The number of bytes that no text has, in any encoding with a byte for a character."""
    return sum(head.count(byte) for byte in range(32) if byte not in _IN_TEXTS)


def _refuse(name: str, kind: str, fix: str) -> NoReturn:
    raise SourceError(
        f"{name} cannot be inspected",
        expected="CSV, JSON lines, Parquet or a Delta table",
        got=kind if kind in ("empty", "text") else f"a file that is {kind}",
        fix=fix,
    )


def _unpacked(name: str, head: bytes) -> tuple[bytes, str | None, tuple[str, ...]]:
    if head[:2] == b"\x1f\x8b":
        kind, ending, head = "gzip", ".gz", zlib.decompressobj(31).decompress(head, 4 * HEAD)
    elif head[:3] == b"BZh":
        kind, ending, head = "bzip2", ".bz2", bz2.BZ2Decompressor().decompress(head, 4 * HEAD)
    else:
        return head, None, ()
    if name.endswith(ending):
        return head, None, (f"packed with {kind}",)
    return head, kind, (f"packed with {kind}, though its name does not end in {ending}",)


def _decoded(head: bytes, is_whole: bool) -> tuple[str, str | None]:
    """The text without a last line that was cut, and the encoding if it is not UTF-8."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head[:200].count(b"\0") > 20:
        text, encoding = head[: len(head) // 2 * 2].decode("utf-16", errors="replace"), "UTF-16"
    else:
        lines = head if is_whole and head[-1:] == b"\n" else head[: head.rfind(b"\n") + 1] or head
        lines = head if is_whole else lines
        try:
            text, encoding = lines.decode("utf-8-sig"), None
        except UnicodeDecodeError:
            text, encoding = lines.decode("cp1252", errors="replace"), "windows-1252"
    return text, encoding


def _json(name: str, text: str) -> Form:
    if text.lstrip()[0] == "[":
        _refuse(name, "one JSON array", f"write a document a line: jq -c '.[]' {name} > log.jsonl")
    lines = [line for line in re.split(LINE_BREAK, text) if line.strip()][:_LINES]
    read = [document for line in lines for document in documents(line)]
    if len(read) < len(lines) / 2:
        _refuse(
            name,
            "JSON whose documents go over several lines",
            f"write a document a line: jq -c . {name} > log.jsonl",
        )
    evidence = [f"JSON, {len(read):,} documents on the first {len(lines):,} lines"]
    if len(read) > len(lines):
        evidence.append("there are lines with several documents")
    evidence.append("the schema is that of these documents: add fields that only others have")
    return Form("json", schema=schema_of(read), evidence=tuple(evidence))


def _csv(text: str, encoding: str | None) -> Form:
    options: dict[str, str] = {}
    sep, quoted, rows = _separated(text)
    usual, lines = Counter(len(row) for row in rows).most_common(1)[0]
    evidence = [
        f"{usual} fields a line, separated by {_SEPARATORS[sep]}"
        if usual > 1
        else "one field a line: no separator was found"
    ]
    if lines < len(rows):
        evidence.append(
            f"{len(rows) - lines:,} of the first {len(rows):,} lines have another number of fields"
        )
    if sep != ",":
        options["sep"] = sep
    if not quoted:
        options["quote"] = ""
        evidence.append("quotes are not in pairs, so they are read as parts of the texts")
    elif re.search(r'\\"', text) and '""' not in text.replace(',""', ""):
        options["escape"] = "\\"
        evidence.append('quotes inside texts are escaped as \\"')
    if quoted and any("\n" in value for row in rows for value in row):
        options["multiLine"] = "true"
        evidence.append("there are line breaks inside quoted fields")
    if encoding is not None:
        options |= {"encoding": encoding}
        options |= {"multiLine": "true"} if encoding == "UTF-16" else {}
        evidence.append(
            "UTF-16"
            if encoding == "UTF-16"
            else "not UTF-8; windows-1252 is a guess: look at the letters with accents"
        )
    headed, why = _headed(rows)
    if not headed:
        options["header"] = "false"
    return Form("csv", options, evidence=(*evidence, why))


def _separated(text: str) -> tuple[str, bool, list[list[str]]]:
    """The separator, whether quotes enclose fields, and the rows."""
    best: tuple[float, int, bool, str, list[list[str]]] | None = None
    for sep in _SEPARATORS:
        for quoted in (True, False):
            rows = _rows(text, sep, quoted)
            if not rows:
                continue
            fields, usual = Counter(len(row) for row in rows).most_common(1)[0]
            share = round(usual / len(rows), 2) if fields > 1 else 0.0
            candidate = (share, fields, quoted, sep, rows)
            # A text may have a separator in each line by chance; more fields are surer.
            if best is None or (share >= 0.8, share * min(fields, 3), quoted) > (
                best[0] >= 0.8,
                best[0] * min(best[1], 3),
                best[2],
            ):
                best = candidate
    assert best is not None
    return best[3] if best[0] else ",", best[2], best[4]


def _rows(text: str, sep: str, quoted: bool) -> list[list[str]]:
    if not quoted and '"' not in text:
        return []
    if len(sep) > 1:
        return [line.split(sep) for line in re.split(LINE_BREAK, text)[:_LINES] if line]
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=sep,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    read: list[list[str]] = []
    try:
        for row in rows:
            if row:
                read.append(row)
            if len(read) == _LINES:
                break
    except csv.Error:  # A field that never ends.
        return [] if read else [[text]]
    width = Counter(map(len, read)).most_common(1)[0][0] if read else 0
    if quoted and any(_swallows(row, width, sep) for row in read):
        return _by_line(text, sep)
    return read


def _swallows(row: Sequence[str], width: int, sep: str) -> bool:
    """Whether there is a row within a field, by the same rule as in ``clean_logs``."""

    def numeric(value: str) -> bool:
        return re.fullmatch(NUMERIC, value) is not None

    lines = [line for value in row for line in re.split(LINE_BREAK, value)[1:]]
    others = [other for line in lines if len(other := line.split(sep)) == width]
    return width > 1 and any(
        any(other)
        and all(numeric(b) or not b for a, b in zip(row, other, strict=False) if numeric(a))
        for other in others
    )


def _by_line(text: str, sep: str) -> list[list[str]]:
    """The rows if a line break ends a row, without the lines with a quote that is not closed.

    There are none if more lines have such a quote than quotes that enclose a field.
    """
    closed: list[list[str]] = []
    enclosed, lines = 0, [line for line in re.split(LINE_BREAK, text) if line][:_LINES]
    for line in lines:
        try:
            row, *end = csv.reader([line + "\n", "\n"], delimiter=sep)
        except csv.Error:  # A field that never ends.
            continue
        if end:  # The line after it is not part of the field.
            closed.append(row)
            enclosed += '"' in line
    return closed if enclosed >= len(lines) - len(closed) else []


def _headed(rows: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """Whether the first line holds names, and why."""
    first, rest = rows[0], rows[1:]
    if number := next((v for v in first if _NUMBER_OR_TIME.fullmatch(v.strip())), None):
        return False, f"no header: the first line has the value {number}"
    titles = [v for v in first if v.strip()]
    if len({v.lower() for v in titles}) < len(titles) or not titles:
        return False, "no header: the first line has a value twice"
    for index, title in enumerate(first):
        below = [row[index] for row in rest if index < len(row) and row[index]]
        like = sum(1 for v in below if _NUMBER_OR_TIME.fullmatch(v.strip()))
        if below and like > len(below) / 2 and title.strip():
            return True, f"a header: '{title}' stands above numbers or times"
    again = next((v for i, v in enumerate(first) if v and _again(v, i, rest)), None)
    if again is not None:
        return False, f"no header: the value '{again}' of the first line occurs again below"
    if all(_TITLE.fullmatch(v.strip()) for v in titles):
        return True, "probably a header: the values of the first line do not occur again below"
    return False, "probably no header: the first line has texts that are no names"


def _again(value: str, index: int, rows: Sequence[Sequence[str]]) -> bool:
    return any(index < len(row) and row[index] == value for row in rows)
