"""Events as a run's config names them, whatever other runs wrote to the same table."""

from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from reweight.clean_logs.events import read_events
from reweight.clean_logs.section import Cleaning
from reweight.core.store_places import open_store
from reweight.core.tables import EVENTS


def test_a_run_reads_its_own_columns_in_its_own_spelling(
    spark: SparkSession, tmp_path: Path
) -> None:
    one, two = (open_store(spark, str(tmp_path), run_id) for run_id in ("one", "two"))
    time = "timestamp'2026-01-01' AS event_time"
    one.write(EVENTS, spark.sql(f"SELECT {time}, 1 AS Value, 'x' AS split"))
    two.write(EVENTS, spark.sql(f"SELECT {time}, 2 AS value, 'y' AS coupon"))

    def cleaning(**columns: str) -> Cleaning:
        source: dict[str, Any] = {"log": {"path": "raw", "format": "csv"}}
        return Cleaning.model_validate({"sources": source, "columns": columns})

    section = cleaning(event_time="ts", value="v", coupon="c", unwritten="u")
    events = read_events(two, section)
    assert events.columns == ["event_time", "value", "coupon"]
    assert [(row["value"], row["coupon"]) for row in events.collect()] == [(2, "y")]
    assert read_events(one, cleaning(split="s", Value="v", event_time="ts")).columns == [
        "split",
        "Value",
        "event_time",
    ]
