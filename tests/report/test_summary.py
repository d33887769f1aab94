"""The table of several runs."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.report.summary import table


def record(summary: dict[str, Any], seconds: float = 1.0) -> dict[str, Any]:
    return {"status": "done", "seconds": seconds, "summary": summary}


CLEANED = record(
    {
        "raw": 12_345,
        "events": 12_000,
        "rejected": 345,
        "reasons": {"duplicate": 300, "missing:user_id": 1_045},
    },
    seconds=2.4,
)
BUILT = record(
    {
        "samples": 900,
        "splits": {"gap": 50, "test": 150, "train": 700},
        "positives": {"gap": 5, "test": 15, "train": 70},
    },
    seconds=3.3,
)
RUNS = {
    "whole": {"clean_logs": CLEANED, "build_samples": BUILT, "report": record({})},
    "cleaned": {"clean_logs": CLEANED | {"summary": CLEANED["summary"] | {"reasons": {}}}},
    "failed": {"clean_logs": record({}), "build_samples": {"status": "running"}},
}


def cells(run_id: str) -> dict[str, str]:
    """The line of a run, cut at the ends of the headers, as a reader's eye does."""
    lines = table(RUNS)
    head, line = lines[0], next(line for line in lines[1:] if line.split()[0] == run_id)
    found, start = {}, 0
    for name in head.split():
        end = head.index(name, start) + len(name)
        found[name] = line[start:end].strip()
        start = end
    return found


def test_a_finished_run_is_one_line_of_counts() -> None:
    assert cells("whole") == {
        "run": "whole",
        "raw": "12,345",
        "rejected": "345",
        "events": "12,000",
        "samples": "900",
        "train": "700",
        "validation": "0",
        "test": "150",
        "gap": "50",
        "immature": "0",
        "positive": "90",
        "seconds": "7",
    }


def test_a_stage_that_a_run_has_not_been_through_leaves_its_cells_empty() -> None:
    cleaned, failed = cells("cleaned"), cells("failed")
    assert cleaned["events"] == "12,000"
    built = ("samples", "train", "validation", "test", "gap", "immature", "positive")
    assert [cleaned[name] for name in built] == [""] * len(built)
    assert [failed[name] for name in ("raw", "rejected", "events", *built)] == [""] * 10
    assert failed["seconds"] == "1"


def test_the_columns_stand_under_their_names() -> None:
    lines = table(RUNS)[: 1 + len(RUNS)]
    assert len({len(line) for line in lines}) == 1


def test_the_reasons_follow_for_each_run_that_was_cleaned() -> None:
    assert table(RUNS)[1 + len(RUNS) :] == [
        "whole: duplicate 300, missing:user_id 1,045",
        "cleaned: none rejected",
        "failed: not cleaned",
    ]


def test_a_run_that_never_started_is_a_line_too() -> None:
    lines = table({"nothing": {}})
    assert lines[0].split() == table(RUNS)[0].split()
    assert lines[1].split() == ["nothing", "0"]


def test_the_decision_of_each_ranker_follows() -> None:
    summary = {"decision": "Ship uniform weights.", "decision for gbt": "Ship those of random."}
    assert table({"whole": {"evaluate": record(summary | {"metrics": 3})}})[-2:] == [
        "whole: Ship uniform weights.",
        "whole, gbt: Ship those of random.",
    ]


def summarised(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Runs the job."""
    monkeypatch.setattr("sys.argv", ["summary.py", *arguments])
    runpy.run_path(str(Path(__file__).parents[2] / "jobs" / "summary.py"), run_name="__main__")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("nowhere.yaml", "error: the config file does not exist"),
        ("seed=1", "error: expected a YAML file before the overrides"),
    ],
)
def test_a_config_that_is_missing_is_an_error_of_one_message(
    argument: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        summarised(monkeypatch, argument)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_runs_of_one_name_are_all_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = Path(__file__).parents[1] / "shop.yaml"
    paths = [tmp_path / f"{name}.yaml" for name in ("one", "two")]
    for number, path in enumerate(paths, 3):
        path.write_text(f"base: {demo}\nroot: {tmp_path / path.stem}\n")
        record_path = RunFolder.of(tmp_path / path.stem, "demo").record("clean_logs")
        write_json(record_path, CLEANED | {"started": "", "seconds": number})
    summarised(monkeypatch, *map(str, paths))
    lines = capsys.readouterr().out.splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines[1:3]] == [
        (str(paths[0]), "3"),
        (str(paths[1]), "4"),
    ]
