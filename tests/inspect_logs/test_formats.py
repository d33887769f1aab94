"""The format of a file, by its first bytes."""

import gzip

import pytest

from reweight.core.errors import SourceError
from reweight.inspect_logs.documents import schema_of
from reweight.inspect_logs.formats import Form, seen

ROWS = [f"{n},{n * 2},2024-03-01 10:00,tv" for n in range(9)]
HEADED = "user,item,ts\n1,5,2024-03-01\n2,6,2024-03-02\n"


@pytest.mark.parametrize(
    ("head", "options", "said"),
    [
        (HEADED, {}, "'user' stands above numbers"),
        (HEADED.replace(",", ";"), {"sep": ";"}, "semicolons"),
        (HEADED.replace(",", "\t"), {"sep": "\t"}, "tabs"),
        (HEADED.replace(",", "|"), {"sep": "|"}, "bars"),
        (HEADED.replace(",", "::"), {"sep": "::"}, "two colons"),
        ("1,5,pv,1511544070\n2,6,buy,1511544071\n", {"header": "false"}, "has the value 1"),
        ("a,click\nb,click\nc,buy\n", {"header": "false"}, "'click' of the first line occurs"),
        ("who,what\nb,click\nc,buy\n", {}, "probably a header"),
        ('id,text\n1,"a\nb"\n2,c\n', {"multiLine": "true"}, "line breaks inside"),
        ('id,text\n1,"a, ""b"""\n2,c\n', {}, "2 fields a line"),
        ('id,text\n1,"a \\"b\\" c"\n2,c\n', {"escape": "\\"}, "escaped"),
        ("id,text\n1,a\n2,b,c\n3,d\n", {}, "1 of the first 4 lines have another number"),
        ("id\n1\n2\n", {}, "one field a line"),
        # A quote that is not closed, alone and among others.
        ("\n".join(["a,b,ts,c", *ROWS, '1,2,2024,"tv', *ROWS, ""]), {"quote": ""}, "not in pairs"),
        (
            "\n".join(["a,b,ts,c", *ROWS, '1,2,2024,"tv', *ROWS, '1,2,2024,"a, b"', ""]),
            {},
            "4 fields a line",
        ),
        # As many commas as a row has, by chance.
        ('id,text\n1,"a\nb, c"\n2,c\n', {"multiLine": "true"}, "line breaks inside"),
    ],
)
def test_csv_is_read_as_it_is_written(head: str, options: dict[str, str], said: str) -> None:
    form = seen("log.csv", head.encode())
    assert (form.format, form.options) == ("csv", options)
    assert said in "; ".join(form.evidence)


def test_other_encodings_are_said_to_be_guesses() -> None:
    form = seen("log.csv", "user,city\n1,Köln\n2,Málaga\n".encode("cp1252"))
    assert form.options == {"encoding": "windows-1252"}
    assert "a guess" in "; ".join(form.evidence)
    form = seen("log.csv", HEADED.encode("utf-16"))
    assert form.options == {"encoding": "UTF-16", "multiLine": "true"}


def test_packed_files_are_looked_into() -> None:
    packed = gzip.compress(HEADED.encode())
    assert seen("log.csv.gz", packed).compression is None
    assert seen("log.csv", packed).compression == "gzip"


def test_json_lines_and_parquet() -> None:
    form = seen("log.txt", b'{"a": 1, "b": {"c": [1.5]}, "d e": true}\n{"a": null, "f": "x"}\n')
    schema = "a bigint, b struct<c: array<double>>, `d e` boolean, f string"
    assert (form.format, form.schema) == ("json", schema)
    assert seen("part-0", b"PAR1....") == Form(
        "parquet", evidence=("the file begins with PAR1: Parquet",)
    )


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b"])
def test_lines_end_where_they_end_for_spark(end: str) -> None:
    # JSON has no control characters in its texts.
    if end > " ":
        assert seen("log", f'{{"a": "b{end}c"}}\n'.encode()).evidence[0].endswith("first 1 lines")
    assert seen("log", f"id::t\n1::b{end}c\n".encode()).evidence[0].startswith("2 fields")


def test_fields_of_several_types_are_texts() -> None:
    assert schema_of([{"a": 1}, {"a": "x"}, {"b": 2**70}, {"a": None}]) == "a string, b string"
    assert schema_of([{"a": 1}, {"a": 1.5}, {"b": []}]) == "a double, b array<string>"


@pytest.mark.parametrize(
    ("head", "got", "fix"),
    [
        (b"PK\x03\x04...", "a file that is a zip archive or an Excel workbook", "unpack it"),
        (
            bytes(range(256)) * 4,
            "a file that is not text: 100 of its first 1,024 bytes are control",
            "convert it",
        ),
        (b"", "empty", "name a file with rows"),
        (b'[{"a": 1}]', "a file that is one JSON array", "jq -c '.[]' log"),
        (b'{\n "a": 1\n}\n', "a file that is JSON whose documents go over", "jq -c . log"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(head: bytes, got: str, fix: str) -> None:
    with pytest.raises(SourceError) as raised:
        seen("log", head)
    assert raised.value.got.startswith(got)
    assert raised.value.fix.startswith(fix) or fix in raised.value.fix
