"""The same log gives the same tables, however it is cut; models serve later runs."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.errors import TrainingError
from reweight.run import Run, read_records, run_stage
from reweight.stages import (
    build_samples,
    clean_logs,
    fit_importance,
    score_weights,
    train_ranker,
)
from reweight.tables import EVENTS, PREDICTIONS, REJECTED, SAMPLES, WEIGHTS, Table

OpenRun = Callable[..., Run]


@pytest.fixture(scope="module")
def again(run: Run, open_run: OpenRun) -> Iterator[Run]:
    """The same log again with 8 partitions for 2, and 2 ranks for 1."""
    run.spark.conf.set("spark.sql.shuffle.partitions", "8")
    run.spark.conf.set("spark.sql.files.maxPartitionBytes", "65536")
    opened = open_run("again", "fitting.ranks=2")
    for stage in (clean_logs, build_samples, fit_importance, score_weights, train_ranker):
        run_stage(opened, stage)
    yield opened
    run.spark.conf.set("spark.sql.shuffle.partitions", "2")
    run.spark.conf.unset("spark.sql.files.maxPartitionBytes")


@pytest.mark.parametrize("table", [EVENTS, REJECTED, SAMPLES], ids=lambda table: table.name)
def test_tables_before_training_are_equal_to_the_last_bit(
    run: Run, again: Run, table: Table
) -> None:
    assert _content(run.store.read(table)) == _content(again.store.read(table))


def test_importance_and_weights_are_equal_to_tolerance(run: Run, again: Run) -> None:
    first, second = (_sorted(r.store.read(WEIGHTS)) for r in (run, again))
    assert len(first) == len(second)
    for column in ("importance", "weight"):
        np.testing.assert_allclose(first[column], second[column], rtol=2e-3, atol=1e-4)


def test_predictions_are_equal_to_tolerance(run: Run, again: Run) -> None:
    first, second = (_sorted(r.store.read(PREDICTIONS)) for r in (run, again))
    np.testing.assert_allclose(first["probability"], second["probability"], atol=1e-3)


def test_a_finished_training_is_not_done_twice(again: Run) -> None:
    before = _losses(again)
    run_stage(again, fit_importance)
    # The checkpoint holds every epoch, so even the seconds are those of the first time.
    assert _losses(again) == before


def test_models_of_a_run_weigh_the_rows_of_a_later_one(run: Run, open_run: OpenRun) -> None:
    later = open_run("later", "model_run_id=first")
    for stage in (clean_logs, build_samples, fit_importance, score_weights):
        run_stage(later, stage)
    assert "skipped" in read_records(later.folder)["fit_importance"]["summary"]
    first, second = (_sorted(r.store.read(WEIGHTS)) for r in (run, later))
    for column in ("importance", "weight"):
        np.testing.assert_allclose(first[column], second[column], rtol=1e-6)


def test_more_ranks_than_slots_fail_in_seconds_with_both_numbers(
    run: Run, open_run: OpenRun
) -> None:
    many = open_run("first", "fitting.ranks=16", "fitting.shards=16")
    before = _content(run.store.read(WEIGHTS))
    with pytest.raises(TrainingError, match="fewer slots than ranks") as caught:
        run_stage(many, fit_importance)
    assert "16 free cores" in str(caught.value)
    assert read_records(many.folder)["fit_importance"]["status"] == "failed"
    assert _content(run.store.read(WEIGHTS)) == before


def _content(frame: DataFrame) -> tuple[int, int, int]:
    """Number of rows and two sums of their hashes."""
    columns = sorted(c for c in frame.columns if c != "run_id")
    row = F.xxhash64(*columns)
    found = frame.agg(F.count("*"), F.bit_xor(row), F.sum(row % 1_000_003)).first()
    assert found is not None
    return (found[0], found[1], found[2])


def _sorted(frame: DataFrame) -> pd.DataFrame:
    return frame.toPandas().sort_values(["method", "sample_id"]).reset_index(drop=True)


def _losses(run: Run) -> str:
    return (run.folder / "models" / "curves.json").read_text()
