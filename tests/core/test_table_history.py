"""Whether a run's rows are as the run wrote them, whatever others did to the table."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.core.store import Store
from reweight.core.store_places import open_store
from reweight.core.table_history import is_untouched
from reweight.core.tables import REJECTED

Write = Callable[[str, int], Store]


@pytest.fixture
def write(spark: SparkSession, tmp_path: Path) -> Write:
    """Writes rows of a run; gives the store that it used."""

    def written(run_id: str, rows: int) -> Store:
        store = open_store(spark, str(tmp_path), run_id)
        none = "cast(null AS string)"
        frame = spark.range(rows).selectExpr(
            "'log' AS source",
            f"{none} AS source_file",
            "array('bad') AS reasons",
            "string(id) AS raw",
            "cast(null AS date) AS day",
        )
        store.write(REJECTED, frame)
        return store

    return written


def untouched(store: Store, *, filled: bool = True) -> bool:
    return is_untouched(store, REJECTED, store.outputs[REJECTED.name], filled=filled)


def test_rows_are_untouched_until_their_run_or_a_stranger_changes_them(
    spark: SparkSession, write: Write
) -> None:
    mine = write("mine", 3)
    name = mine.name(REJECTED)
    assert untouched(mine)
    theirs = write("theirs", 4)
    spark.sql(f"OPTIMIZE {name}")
    assert untouched(mine)
    assert untouched(theirs)
    again = write("mine", 2)
    assert not untouched(mine)
    assert untouched(theirs)
    assert untouched(again)
    # Whose rows these were the history does not say.
    spark.sql(f"DELETE FROM {name} WHERE run_id = 'theirs'")
    assert not untouched(again)
    assert not untouched(theirs)


def test_no_rows_are_untouched_as_long_as_there_are_none(
    spark: SparkSession, write: Write, tmp_path: Path
) -> None:
    none = write("none", 0)
    assert untouched(none, filled=False)
    write("theirs", 2)
    assert untouched(none, filled=False)
    assert untouched(write("none", 0), filled=False)
    write("none", 1)
    assert not untouched(none, filled=False)
    # A table that was made anew has other commits by the same numbers.
    missing = open_store(spark, str(tmp_path / "elsewhere"), "none")
    assert not is_untouched(missing, REJECTED, 0)
    assert not is_untouched(none, REJECTED, 0, filled=True)
    assert not is_untouched(none, REJECTED, 99)
