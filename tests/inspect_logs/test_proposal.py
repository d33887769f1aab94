"""What is proposed for a log is what reads it: clean_logs runs with it and rejects nothing."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.clean_logs.stage import clean_logs
from reweight.config import Run, load_config
from reweight.core.errors import SourceError
from reweight.core.tables import EVENTS
from reweight.core.yaml_text import parsed
from reweight.inspect_logs.command import inspect
from reweight.inspect_logs.guesses import RawColumn
from reweight.inspect_logs.proposal import proposal
from reweight.inspect_logs.samples import Sample

MARCH = 1_709_251_200  # 2024-03-01, in seconds since 1970
KINDS = ("click", "click", "buy")


def rows() -> list[tuple[int, int, str, int]]:
    return [(n % 7, n % 5, KINDS[n % 3], MARCH + n * 600) for n in range(120)]


def flat(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.replace("#", " ").split())


def written(folder: Path) -> dict[str, str]:
    """Small logs of several formats: name -> path."""
    millis = [f"{u},{i},{k},{t}000" for u, i, k, t in rows()]
    (folder / "millis.csv").write_text("\n".join(["user,item,kind,ts", *millis, ""]))
    bare = [f"{u}\t{i}\t{k}\t{t}" for u, i, k, t in rows()]
    (folder / "bare.tsv").write_text("\n".join([*bare, ""]))
    documents = [
        {"who": {"id": u}, "at": f"{datetime.utcfromtimestamp(t).isoformat()}+00:00", "kind": k}
        for u, _, k, t in rows()
    ]
    pairs = [{"key": "page", "value": {"string_value": "/"}}, {"key": "id", "value": {}}]
    lists = [{"pairs": pairs, "events": [d, d | {"kind": "view"}]} for d in documents]
    (folder / "iso.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (folder / "lists.jsonl").write_text("\n".join(map(json.dumps, lists)))
    (folder / "spellings.csv").write_text(
        "event_time,us,web,slashes,bigquery,minutes,hour,price,euros,done\n"
        "2024-03-31 10:00:00,3/31/2024 1:05 PM,31/Mar/2024:10:00:00 +0000,2024/03/31 10:00,"
        '2024-03-31 10:00:00.25 UTC,2024-03-31T10:00Z,2024033110,"1,234.50","4,34 €",yes\n'
    )
    return {path.name: str(path) for path in folder.iterdir()}


@pytest.mark.usefixtures("runs_stages")
def test_clean_logs_runs_with_what_is_proposed(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    logs = written(tmp_path / "logs")
    frame = spark.createDataFrame(rows(), "user long, item long, kind string, t long")
    frame = frame.selectExpr("*", "timestamp_seconds(t) AS when").drop("t")
    frame.coalesce(1).write.parquet(logs.setdefault("parts", str(tmp_path / "logs" / "parts")))
    said = {
        "millis.csv": "13 digits, 1709251200000 .. 1709322600000: milliseconds since 1970; "
        "2024-03-01 00:00:00 .. 2024-03-01 19:50:00 UTC",
        "bare.tsv": "no header",
        "iso.jsonl": "with a zone, such as +00:00",
        "lists.jsonl": "a row of each element of the array events",
        "parts": "the file begins with PAR1",
        "spellings.csv": "1 with commas",
    }
    for number, (name, evidence) in enumerate(said.items()):
        text = inspect(spark, [logs[name]])
        assert evidence in flat(text), text
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        config = load_config(str(file), (f"run_id=r{number}", f"root={tmp_path / 'root'}"))
        run = Run.open(spark, config)
        summary = clean_logs(run)
        expected = {"lists.jsonl": 240, "spellings.csv": 1}.get(name, 120)
        assert (summary["raw"], summary["events"]) == (expected, expected), name
        assert "not converted" not in summary
    row = run.store.read(EVENTS).selectExpr(*config.cleaning.columns).first()
    assert row is not None
    assert row.asDict() == {
        "event_time": datetime(2024, 3, 31, 10),
        "us": datetime(2024, 3, 31, 13, 5),
        "web": datetime(2024, 3, 31, 10),
        "slashes": datetime(2024, 3, 31, 10),
        "bigquery": datetime(2024, 3, 31, 10, 0, 0, 250_000),
        "minutes": datetime(2024, 3, 31, 10),
        "hour": datetime(2024, 3, 31, 10),
        "price": 1234.5,
        "euros": 4.34,
        "done": "yes",  # one word alone may be any text
    }
    # Columns that are left out tell rows apart too.
    tagged = [json.dumps({"at": "2024-03-01", "tags": [tag]}) for tag in "aab"]
    (tmp_path / "tags.jsonl").write_text("\n".join(tagged))
    assert "1 of 3 rows equal an earlier row" in inspect(spark, [str(tmp_path / "tags.jsonl")])
    with pytest.raises(SourceError) as raised:
        inspect(spark, [str(tmp_path / "nowhere")])
    assert raised.value.got == "no such file, and no such table"


def sample(whole: bool, *far: str) -> Sample:
    users = [str(u) for u, *_ in rows()] + ["1"] * len(far)
    times = [str(t) for *_, t in rows()] + list(far)
    columns = (
        RawColumn("user", "user", "string", users),
        RawColumn("ts", "ts", "string", times),
    )
    settings = {"path": "log.csv", "format": "csv"}
    return Sample("log", settings, (), columns, (), len(users), whole)


def test_times_far_from_the_rest_become_limits_only_where_the_whole_log_was_seen(
    tmp_path: Path,
) -> None:
    for whole in (True, False):
        text = proposal([sample(whole, "2122867355")])
        assert "1 time is far from the rest, and rejected: 2037-04-09 05:22:35" in flat(text)
        (tmp_path / "log.yaml").write_text(text)
        section = load_config(str(tmp_path / "log.yaml")).cleaning
        assert section.not_after == ("2024-03-02 00:00:00" if whole else None)
        assert "not_after: 2024-03-02 00:00:00" in text
        assert section.not_before is None


def test_a_log_without_times_gets_one_that_is_made_up_and_says_so(tmp_path: Path) -> None:
    users = RawColumn("User ID", "`User ID`", "string", ["1", "2"])
    positions = RawColumn("position", "position", "string", ["1", "2"])
    clicks = RawColumn("clicked", "clicked", "string", ["yes", "no"])
    columns = (users, positions, clicks)
    settings = {"path": "log.csv", "format": "csv"}
    text = proposal([Sample("log", settings, (), columns, ("tags: array<string>",), 2, True)])
    assert "No column is a time" in text
    assert "left out, since it has no single value: tags: array<string>" in text
    (tmp_path / "log.yaml").write_text(text)
    config = load_config(str(tmp_path / "log.yaml"))
    assert config.cleaning.columns["user_id"] == "try_cast(`User ID` AS bigint)"
    assert config.sampling.keep == {"position": "position"}
    assert config.sampling.label.value == "clicked"
    assert config.splits.by == "row"


def test_columns_may_have_names_that_mean_something_to_sql_or_yaml(tmp_path: Path) -> None:
    names = ("null", "True", "case", "${x}")
    columns = [RawColumn(n, f"`{n}`", "string", [f"{n}1", f"{n}2"]) for n in names]
    settings = {"path": "log.csv", "format": "csv"}
    text = proposal([Sample("log", settings, (), tuple(columns), (), 2, True)])
    (tmp_path / "log.yaml").write_text(text)
    read = load_config(str(tmp_path / "log.yaml")).cleaning.columns
    named = {"log_null": "`null`", "log_true": "`True`", "log_case": "`case`", "x": "`${x}`"}
    assert {n: sql for n, sql in read.items() if n != "event_time"} == named


def test_sources_of_different_columns_each_get_those_that_differ() -> None:
    def raw(name: str, *values: str) -> RawColumn:
        return RawColumn(name, name, "string", values)

    time, user = raw("ts", "2024-03-01", "2024-03-02"), raw("user", "1", "2")
    price = raw("price", "1.5", "2")
    settings = {"path": "log.csv", "format": "csv"}
    clicks = Sample("clicks", settings, (), (time, user), (), 2, True)
    buys = Sample("buys", settings, (), (time, user, price), (), 2, True)
    section = parsed(proposal([clicks, buys]))["cleaning"]
    assert section["columns"] == {
        "event_time": "try_to_timestamp(ts)",
        "user": "try_cast(user AS bigint)",
    }
    own = {name: source.get("columns") for name, source in section["sources"].items()}
    assert own == {"clicks": None, "buys": {"price": "try_cast(price AS double)"}}
    alike = parsed(proposal([clicks, replace(clicks, name="more")]))["cleaning"]
    assert [*alike["sources"]] == ["clicks", "more"]
    assert "columns" not in alike["sources"]["more"]
