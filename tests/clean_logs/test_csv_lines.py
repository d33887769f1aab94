"""CSV: quoted as in RFC 4180; every line is a row or rejected; folders are columns."""

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from reweight.clean_logs.section import Source
from reweight.clean_logs.sources import read
from reweight.core.errors import SourceError


def rows(spark: SparkSession, path: Path, text: str | None = None, **rest: Any) -> list[Row]:
    if text is not None:
        path.write_text(text)
    source = Source.model_validate({"path": str(path), "format": "csv"} | rest)
    return read(spark, "log", "sources.log", source).rows.where("_left_out IS NULL").collect()


def values(found: list[Row], column: str) -> dict[str, str | None]:
    """By id; of the lines that parse."""
    return {row["id"]: row[column] for row in found if not row["_malformed"]}


def broken(found: list[Row]) -> list[str]:
    return sorted(row["_raw"] for row in found if row["_malformed"])


def test_quotes_are_doubled_as_spreadsheets_and_warehouses_do(
    spark: SparkSession, tmp_path: Path
) -> None:
    titles = {
        '"say ""hi"", ok"': 'say "hi", ok',
        '"12"" pipe"': '12" pipe',
        '"""Great Show"" Cats (1998)"': '"Great Show" Cats (1998)',
        '"C:\\"': "C:\\",
        '"a, b"': "a, b",
        '""': None,
        '12" pipe': '12" pipe',  # a quote is one at the beginning of a field
        '"x" ': "x",
        '""""': '"',
        '"' + '""' * 20_000 + '"': '"' * 20_000,
    }
    lines = [f"{number},{title},end" for number, title in enumerate(titles)]
    found = rows(spark, tmp_path / "log.csv", "\n".join(["id,title,last", *lines, ""]))
    assert broken(found) == []
    assert values(found, "title") == {str(n): t for n, t in enumerate(titles.values())}


def test_a_field_that_is_not_quoted_as_the_others_is_rejected(
    spark: SparkSession, tmp_path: Path
) -> None:
    wrong = [
        '1,"red',
        'shoes"',
        '2,"12" pipe"',
        '3,"a" b',
        '4,"say \\"hi\\""',
        '"5,x',
        '6,"a","',
        '"7,"x"',
        '9,"big',
        'red,shoes"',
        'red",10',
    ]
    log = "\n".join(["id,title", *wrong, '8,"red shoes"', ""])
    found = rows(spark, tmp_path / "log.csv", log)
    assert broken(found) == sorted(wrong)
    assert values(found, "title") == {"8": "red shoes"}


def test_other_ways_to_quote_are_options(spark: SparkSession, tmp_path: Path) -> None:
    backslash = 'id,title\n1,"say \\"hi\\", ok"\n2,"C:\\\\"\n3,"open\\"\n4,"12"" pipe"\n'
    found = rows(spark, tmp_path / "a.csv", backslash, options={"escape": "\\"})
    assert values(found, "title") == {"1": 'say "hi", ok', "2": "C:\\"}
    assert broken(found) == ['3,"open\\"', '4,"12"" pipe"']
    single = "id|title\n1|'it''s | x'\n2|\"red\n"
    found = rows(spark, tmp_path / "b.csv", single, options={"Quote": "'", "SEP": "|"})
    assert values(found, "title") == {"1": "it's | x", "2": '"red'}
    none = 'id\ttitle\n1\t"red\n2\t"Great" Show\n'
    found = rows(spark, tmp_path / "c.tsv", none, options={"quote": "", "sep": "\\t"})
    assert values(found, "title") == {"1": '"red', "2": '"Great" Show'}
    lines = 'id,title\n1,"red\nshoes"\n2,blue\n'
    found = rows(spark, tmp_path / "d.csv", lines, options={"multiLine": "true"})
    assert values(found, "title") == {"1": "red\nshoes", "2": "blue"}


def test_a_quote_that_is_not_closed_takes_no_rows_with_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    plain = [f"{n},{n * 2},2024-03-01 10:00:00,ok" for n in range(10, 15)]
    texts = ['1,2,2024-03-01 10:00:00,"fine, thanks,\n5,6,7 of them, and\r\n,,,"', *plain]
    multi_line = {"multiLine": "true"}
    for end in ([], ['20,40,2024-03-01 10:00:00,"a b"', "21,42,2024-03-01 10:00:00,ok"]):
        log = "\n".join(
            ["id,item,ts,note", *texts, '3,6,2024-03-01 10:00:00,"12', *plain, *end, ""]
        )
        found = rows(spark, tmp_path / "log.csv", log, options=multi_line)
        assert ["3" if '"3"' in text else text for text in broken(found)] == ["3"]
        good = values(found, "note")
        assert good.pop("1") == "fine, thanks,\n5,6,7 of them, and\r\n,,,"
        assert good == {str(n): "ok" for n in range(10, 15)} | ({"21": "ok"} if end else {})
    found = rows(spark, tmp_path / "b.csv", 'id|a\nx|"b\ny|c\n', options=multi_line | {"sep": "|"})
    assert (values(found, "a"), len(broken(found))) == ({}, 1)


@pytest.mark.parametrize("multi_line", ["false", "true"])
def test_folders_are_columns_of_text(spark: SparkSession, tmp_path: Path, multi_line: str) -> None:
    for shop in ("007", "010", "2024-03-01"):
        (tmp_path / "log" / f"shop={shop}").mkdir(parents=True)
        (tmp_path / "log" / f"shop={shop}" / "a.csv").write_text(f"id,kind\n{shop},a\n")
    options = {"multiLine": multi_line}
    found = rows(spark, tmp_path / "log", options=options)
    assert values(found, "shop") == {shop: shop for shop in ("007", "010", "2024-03-01")}
    assert {row["_raw"] for row in found if row["id"] == "007"} == {
        '{"id":"007","kind":"a","shop":"007"}'
    }
    found = rows(spark, tmp_path / "log", options=options | {"header": "false"})
    assert {row["shop"] for row in found if row["_c0"] == "007"} == {"007"}
    (tmp_path / "log" / "shop=007" / "a.csv").write_text("id,shop\n1,2\n")
    (tmp_path / "log" / "shop=010" / "a.csv").write_text("id,shop\n1,2\n")
    (tmp_path / "log" / "shop=2024-03-01" / "a.csv").write_text("id,shop\n1,2\n")
    with pytest.raises(SourceError, match="columns of one name") as error:
        rows(spark, tmp_path / "log", options=options)
    assert error.value.got == "['shop']"
    assert values(rows(spark, tmp_path / "log/*/*.csv", options=options), "shop") == {"1": "2"}


def test_a_first_line_that_is_shorter_than_the_others_is_named(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("1,a\n2,b,x\n3,c,y\n")
    with pytest.raises(SourceError, match="the first line of") as error:
        rows(spark, path, options={"header": "false"})
    assert "`names: [_c0, _c1, _c2]`" in error.value.fix
    found = rows(spark, path, names=["id", "kind", "more"])
    assert (values(found, "more"), broken(found)) == ({"2": "x", "3": "y"}, ["1,a"])
    with pytest.raises(SourceError, match="the `names` of"):
        rows(spark, path, names=["id"])
    path.write_text("id,kind\n2,b,x\n3,c,y\n")
    with pytest.raises(SourceError, match="the header of") as error:
        rows(spark, path)
    assert "`names: [id, kind, _c2]`, and `options: {header: 'false'}`" in error.value.fix


def test_other_encodings_are_read_and_names_of_columns_may_be_any(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes("id,_metadata,_c1\n1,\u0161,\u20ac\n".encode("windows-1252"))
    (row,) = rows(spark, path, options={"encoding": "windows-1252"})
    assert (row["_metadata"], row["_c1"]) == ("\u0161", "\u20ac")
    assert row["_source_file"] == f"file:{path}"
    path.write_text("id,_metadata\n1,x\n")
    (row,) = rows(spark, path, options={"multiLine": "true"})
    assert (row["_metadata"], row["_source_file"]) == ("x", f"file:{path}")
