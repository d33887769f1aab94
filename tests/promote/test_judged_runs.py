"""Whether a run's weights were judged, by the records of its stages."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.promote.records import write_records

from reweight.core.errors import PromotionError
from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.promote.judged_runs import WEIGHING, check_done, weights_key


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder.of(tmp_path, "monday")
    write_records(run)
    return run


def change(folder: RunFolder, stage: str, **values: Any) -> None:
    """Changes values of a record; None removes one."""
    record = json.loads(folder.record(stage).read_text()) | values
    write_json(folder.record(stage), {k: v for k, v in record.items() if v is not None})


def test_a_finished_run_has_judged_the_weights_that_it_has(folder: RunFolder) -> None:
    check_done(folder)
    assert weights_key(folder) == "monday_score_weights1"


@pytest.mark.parametrize(
    ("stage", "values", "got"),
    [
        ("score_weights", {"status": "running"}, "score_weights: it was interrupted"),
        ("train_ranker", {"status": "running"}, "train_ranker: it was interrupted"),
        ("evaluate", {"status": "failed"}, "evaluate: it failed"),
        ("score_weights", {"key": "another"}, "train_ranker: score_weights has been run since"),
        ("train_ranker", {"key": "another"}, "evaluate: train_ranker has been run since"),
        ("train_ranker", {"before": ""}, "train_ranker: score_weights has been run since"),
        ("evaluate", {"key": None}, "evaluate: an earlier version"),
    ],
)
def test_a_run_that_was_started_again_and_not_finished_is_refused(
    folder: RunFolder, stage: str, values: dict[str, Any], got: str
) -> None:
    change(folder, stage, **values)
    with pytest.raises(PromotionError, match="run 'monday' is not finished") as caught:
        check_done(folder)
    assert caught.value.got.startswith(got)
    assert "run_id=monday" in caught.value.fix


def test_weights_that_are_being_made_have_no_name(folder: RunFolder) -> None:
    change(folder, "score_weights", status="running")
    assert weights_key(folder) is None
    folder.record("score_weights").unlink()
    assert weights_key(folder) is None
    with pytest.raises(PromotionError, match="not finished: score_weights") as caught:
        check_done(folder, (WEIGHING,))
    assert caught.value.got == "score_weights: it has not been run"


def test_of_a_run_of_models_only_the_weights_count(folder: RunFolder) -> None:
    change(folder, "evaluate", status="running")
    check_done(folder, (WEIGHING,))
