"""What the stage says of the samples of a small log, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import Run, RunConfig, read_config
from reweight.core.errors import ConfigError, SampleError, SourceError
from reweight.core.tables import SAMPLES
from reweight.runner.records import run_stage


@pytest.fixture
def root(tmp_path: Path, runs_stages: None) -> Path:
    """The folder of a log of days without hours: 40 clicks a day, each tenth bought that day."""
    lines = ["user,device,kind,day,clicked,place,price"]
    for n in range(240):
        user, device = (n, "") if n % 2 else ("", n)
        day = f"2026-03-0{1 + n // 40}"
        clicked = "yes" if n % 10 == 1 else "no"
        lines.append(f"{user},{device},click,{day},{clicked},{'third' if n == 7 else n % 5 + 1},9")
        if n % 10 == 1:
            lines.append(f"{user},{device},buy,{day},,,")
        if n % 10 == 5:
            lines.append(f"{user},{device},buy,{day} 12:00:00,,,")
    lines.append("239,,click,2037-01-01,no,1,9")
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def opened(spark: SparkSession, root: Path, **changes: Any) -> Run:
    label = {"where": "kind = 'buy'", "keys": ["user"], "window": "1 day"}
    section = {"anchor": "kind = 'click'", "key": ["user", "device", "kind"], "label": label}
    columns = {"event_time": "try_to_timestamp(day)"}
    columns |= {c: c for c in ("user", "device", "kind", "day", "clicked", "place", "price")}
    splits = changes.pop("splits", {"by": "time", "cuts": ["2026-03-03", "2026-03-05"]})
    features = changes.pop("features", {"numeric": {"price": "price", "place": "place"}})
    features = features | {"sequence": changes.pop("sequence", None)}
    config = {
        "run_id": changes.pop("run_id", "days"),
        "root": str(root / "out"),
        "cleaning": {
            "sources": {"log": {"path": str(root / "log.csv"), "format": "csv"}},
            "columns": columns,
        },
        "sampling": section | changes,
        "splits": splits,
        "features": features,
        "importance": [],
    }
    return Run.open(spark, read_config(RunConfig, config))


def test_ties_null_keys_cuts_and_lost_values_are_told(spark: SparkSession, root: Path) -> None:
    sequence = {"keys": ["user"], "length": 2, "fields": {"kind": {"value": "kind"}}}
    run = opened(spark, root, keep={"position": "place"}, sequence=sequence)
    told = run_stage(run, clean_logs)
    assert (told["events"], told["rejected"]) == (288, 1)
    told = run_stage(run, build_samples)
    # The last click is of 6 March and the last event of noon, so its window is open.
    assert told["splits"] == {"gap": 80, "immature": 40, "test": 40, "train": 40, "validation": 40}
    assert told["positives"] == {name: rows // 10 for name, rows in told["splits"].items()}
    assert told["validation from"] == "2026-03-03 00:00:00; 40 label windows were open"
    assert told["test from"] == "2026-03-05 00:00:00; 40 label windows were open"
    assert told["gap"] == "80 rows, 8 of them positive, are in no part"
    assert told["same time"].startswith("24 samples have a label event")
    assert told["null keys"].startswith("240 samples")
    assert told["not converted"] == {"keep.position": "1 values", "numeric.place": "1 values"}
    # Of the clicks of a user's own, 24 come after his purchase of the same day, at midnight.
    assert told["sequences"] == "last 2 events: kind (1024 ids); 240 samples have none"
    samples = run.store.read(SAMPLES)
    assert samples.select("sample_id").distinct().count() == 240
    assert samples.select("sequence_ids", "sequence_gaps").distinct().collect() == [
        ([0, 0], [-1.0, -1.0])
    ]
    label = {"where": "kind = 'buy'", "keys": ["user"], "window": "1 day", "same_time": "after"}
    told = run_stage(opened(spark, root, label=label), build_samples)
    assert sum(told["positives"].values()) == 48
    # The next click on the place, unless its user buys: those on place 1 all do, until 4 March.
    undo = {"where": "kind = 'buy' AND day < '2026-03-04'", "keys": ["user"], "window": "1 day"}
    label = {"where": "kind = 'click' AND user IS NOT NULL", "keys": ["place"], "undo": undo}
    splits = {"by": "time", "cuts": ["2026-03-03 06:00", "2026-03-05"], "open_windows": "train"}
    told = run_stage(opened(spark, root, label=label, splits=splits), build_samples)
    # At 6 a click of 3 March follows each of the days before, and is not taken back yet. One sample
    # is alone on its place.
    assert told["splits"] == {"test": 80, "train": 120, "validation": 40}
    assert told["positives"] == {"test": 40, "train": 79, "validation": 40}
    # The clicks of the day before wait for the next ones, and so do, at 6, those on place 1.
    assert told["validation from"].endswith("; 57 label windows were open")
    assert told["test from"].endswith("; 41 label windows were open")
    columns = {
        **{"event_time": "min(event_time)", "price": "min(price)", "place": "min(place)"},
        "bought": "max(kind = 'buy')",
    }
    merged = {"collapse": {"keys": ["user"], "columns": columns}, "anchor": "true", "key": ["user"]}
    told = run_stage(opened(spark, root, label={"value": "bought"}, **merged), build_samples)
    # Half of the clicks are of no user: each of them is a sample.
    assert (told["samples"], sum(told["positives"].values())) == (240, 48)
    assert told["not merged"] == "120 events have a null in user (sampling.collapse.keys)"
    for changes, error, words in (
        ({"label": {"value": "clicked"}}, SampleError, ["'no' 216 times, 'yes' 24 times"]),
        (
            {"splits": {"by": "time", "cuts": ["2026-03-01", "2026-03-05"]}},
            SampleError,
            ["after 2026-03-01 00:00:00", "up to 2026-03-06 12:00:00", "2026-03-05 00:00:00"],
        ),
        (
            {"splits": {"by": "time", "cuts": ["2026-03-03", "2027-03-05"]}},
            SampleError,
            ["splits.cuts are outside the log", "2027-03-05 00:00:00"],
        ),
        (
            {
                "collapse": {
                    "keys": ["user"],
                    "columns": {
                        "event_time": "min(event_time)",
                        "price": "min(price)",
                        "place": "min(place)",
                        "far": "max(timestamp_seconds(int(user) * 1000000000000000000))",
                    },
                },
                "key": ["user"],
                "anchor": "true",
                "label": {"value": "user > 9"},
            },
            SourceError,
            ["collapse.columns.far", "user = '"],
        ),
    ):
        with pytest.raises(error) as caught:
            run_stage(opened(spark, root, **changes), build_samples)
        for word in words:
            assert word in str(caught.value)
        assert "\tat " not in str(caught.value)


def test_texts_are_features_and_encoded_once_for_all_runs(spark: SparkSession, root: Path) -> None:
    text = {"place": {"value": "place", "dim": 3}, "kind": {"value": "kind", "dim": 3}}
    features = {"text": text, "similarity": {"like": ["place", "kind"]}}
    for run_id, encoded in (("days", 7), ("more", 0)):
        run = opened(spark, root, features=features, run_id=run_id)
        run_stage(run, clean_logs)
        told = run_stage(run, build_samples)
        # `third`, 1 to 5, and `click`.
        assert told["texts"] == {"distinct": 7, "encoded": encoded}
    # The similarity, two texts of 3 numbers, and three indicators.
    assert told["features"].startswith("10 in a vector of 10")
    stats = json.loads(run.folder.features.read_text())
    assert stats["texts"] == {"place": "hashed 1, dim 3", "kind": "hashed 1, dim 3"}
    rows = run.store.read(SAMPLES).select("features")
    assert {len(row["features"]) for row in rows.collect()} == {10}
    nowhere = {"text": {"place": {"value": "place", "encoder": "/nowhere"}}}
    with pytest.raises(ConfigError) as caught:
        run_stage(opened(spark, root, features=nowhere), build_samples)
    assert caught.value.got == "missing: no such folder"
