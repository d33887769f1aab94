"""JSON: every document of a line is a row, or the line is rejected as a whole."""

import json
from collections import Counter
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.clean_logs.cleaning import count_rows
from reweight.clean_logs.section import Source
from reweight.clean_logs.sources import Read, read
from reweight.core.errors import SourceError


def of(spark: SparkSession, path: Path, schema: str = "id bigint, kind string") -> Read:
    source = Source.model_validate({"path": str(path), "format": "json", "schema": schema})
    return read(spark, "log", "sources.log", source)


def test_a_line_holds_whole_documents_or_is_rejected(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    whole = [
        '{"id": 1}{"id": 2}',
        '{"id": 3} {"id": 4}  {"id": 5}',
        ' {"id": 6} ',
        '{"id": 7, "kind": "a}{b"}',
        '{"id": 8, "kind": {"x": [{"y": "}"}, {}]}}',
        '{"id": 9, "kind": "\u00e9\U0001f600"}',
    ]
    broken = [
        '{"id": 10} {"id": 11,',
        '{"id": 12},',
        '{"id": 13}}',
        '{"id": 14}]',
        '{"id": 15}, {"id": 16}',
        '{"id": 17}, {"id": 18}]',
        '{"id": 19}, "length": 24',
        '"id": 19',
        '{"id": 20}{"id": 21} x',
        '{"id": 22, "kind": "a}{b"}{"id": 23',
        "null",
        "[1]",
    ]
    path.write_text("\n".join([*whole, *broken, "", " \t"]))
    found = of(spark, path)
    rows = found.rows.collect()
    assert sorted(row["id"] for row in rows if not row["_malformed"]) == list(range(1, 10))
    assert Counter(row["_raw"] for row in rows if row["_malformed"]) == Counter(broken)
    assert count_rows({"log": found}) == ({"log": 9 + len(broken)}, {"log": 0})


def test_folders_are_columns_and_make_documents_differ(spark: SparkSession, tmp_path: Path) -> None:
    for day in ("01", "02"):
        (tmp_path / "log" / f"day={day}").mkdir(parents=True)
        (tmp_path / "log" / f"day={day}" / "a.json").write_text('{"id": 1}\n{}\n{"id": \n')
    rows = of(spark, tmp_path / "log").rows.collect()
    assert Counter((r["id"], r["day"], r["_malformed"]) for r in rows) == Counter(
        (number, day, number is None and wrong)
        for day in ("01", "02")
        for number, wrong in ((1, False), (None, False), (None, True))
    )
    texts = [row["_raw"] for row in rows if not row["_malformed"]]
    assert sorted(texts) == sorted(
        text for d in ("01", "02") for text in (f'{{"day":"{d}","id": 1}}', f'{{"day":"{d}"}}')
    )
    assert all("day" in json.loads(text) for text in texts)
    with pytest.raises(SourceError, match="columns of one name") as error:
        of(spark, tmp_path / "log", "id bigint, Day string")
    assert error.value.got == "['day']"
