"""The stages of a run that uses the models of another: what they take from it, and refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.columns import in_sample
from reweight.config import RunConfig, read_config
from reweight.errors import ReweightError
from reweight.runs import Run
from reweight.stages.build_samples import build_samples
from reweight.stages.score_weights import weights
from reweight.tables import EVENTS
from reweight.weighting import PolicyStats

OpenRun = Callable[..., Run]
LATER = "model_run_id=monday"


@pytest.fixture
def opened(spark: SparkSession, tmp_path: Path) -> OpenRun:
    """Opens a run of two methods that need no training; overrides go over it."""
    config = {
        "root": str(tmp_path),
        "cleaning": {
            "sources": {"log": {"path": "/raw", "format": "csv"}},
            "columns": {"event_time": "now()"},
        },
        "sampling": {"key": ["shown"], "label": {"value": "bought"}},
        "features": {"numeric": {"price": "price"}},
        "importance": [{"method": "random"}],
    }
    return lambda run_id, *more: Run.open(
        spark, read_config(RunConfig, config, (f"run_id={run_id}", *more))
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["(1, 0)", "(1, 1)"], "sample_id is not unique"),
        (["(1, 0)", "(2, 3)"], "labels that are neither 0 nor 1"),
        (["(1, 0)", "(2, null)"], "the run 'monday' has no statistics"),
    ],
)
def test_rows_of_a_later_day_are_checked_but_need_not_be_of_both_classes(
    opened: OpenRun, rows: list[str], said: str
) -> None:
    run = opened("tuesday", LATER)
    events = f"SELECT *, now() AS event_time, 1.0 AS price FROM VALUES {', '.join(rows)}"
    run.store.write(EVENTS, run.spark.sql(f"{events} AS log(shown, bought)"))
    with pytest.raises(ReweightError, match=said):
        build_samples(run)


@pytest.mark.parametrize(("more", "seen"), [((), [True, False]), ((LATER,), [False, False])])
def test_no_row_of_a_later_day_was_trained_on(
    opened: OpenRun, more: tuple[str, ...], seen: list[bool]
) -> None:
    run = opened("tuesday", *more)
    rows = run.spark.createDataFrame(
        [(1, "train", 0.5, True), (2, "test", 0.5, True)],
        f"sample_id bigint, split string, random float, `{in_sample('random')}` boolean",
    )
    found = weights(run, rows, {"random": PolicyStats(map="identity")}).orderBy("sample_id")
    assert [row["in_sample"] for row in found.collect()] == seen
