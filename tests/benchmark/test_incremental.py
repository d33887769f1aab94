"""Long work in pieces."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from reweight.benchmark import incremental as pieces
from reweight.config import Run, load_config
from reweight.core.errors import TableError
from reweight.core.tables import Table

DEMO = str(Path(__file__).parents[1] / "shop.yaml")
TABLE = Table("letters", "a test", "letter string, number bigint")


@pytest.fixture
def run(spark: SparkSession, tmp_path: Path) -> Run:
    return Run.open(spark, load_config(DEMO, (f"root={tmp_path}",)))


def test_pieces_are_done_a_few_at_a_time_and_only_once(run: Run, logged: Callable[[], str]) -> None:
    keys = [f"k{i}" for i in range(4 * run.spark.sparkContext.defaultParallelism + 1)]
    asked: list[list[str]] = []

    def judged(own: list[str]) -> DataFrame:
        asked.append(own)
        return run.spark.createDataFrame([(k, 1) for k in own], "letter string, number bigint")

    assert pieces.done(run, TABLE, "letter", keys) == set()
    assert pieces.in_pieces(run, TABLE, "letter", keys, set(), judged) == len(keys)
    assert asked == [keys[:-1], keys[-1:]]
    assert f"{len(keys)} of {len(keys)} letters" in logged()
    there = pieces.done(run, TABLE, "letter", [*keys, "new"])
    assert there == set(keys)
    assert pieces.in_pieces(run, TABLE, "letter", [*keys, "new"], there, judged) == 1
    assert asked[2:] == [["new"]]
    assert len(pieces.found(run, TABLE, "letter", keys)) == len(keys)
    # Under other settings all keys are others, and what the earlier ones left goes.
    assert pieces.in_pieces(run, TABLE, "letter", ["other"], set(), judged) == 1
    assert run.store.read(TABLE).select("letter").toPandas()["letter"].tolist() == ["other"]


def test_a_table_of_an_earlier_form_is_named(run: Run) -> None:
    run.store.write(TABLE, run.spark.createDataFrame([("a", 1)], "letter string, number bigint"))
    with pytest.raises(TableError, match="an earlier schema") as caught:
        pieces.done(run, TABLE, "world", ["a"])
    assert "a column 'world'" in str(caught.value)
