"""What differs between a session with a JVM and a client of Spark Connect."""

from contextlib import ExitStack
from pathlib import Path
from threading import Barrier, get_ident
from typing import Any, cast

import pytest
from clients import Client, client
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.core import persisted, session_kind
from reweight.core.errors import SetupError
from reweight.core.expressions import is_deterministic


def test_a_client_is_known_by_its_class(spark: SparkSession) -> None:
    assert session_kind.is_connect(client())
    assert not session_kind.is_connect(spark)


def test_a_client_is_local_only_with_a_server_on_this_machine() -> None:
    here, there = client(), client()
    there.client.host = "shop.example"  # type: ignore[attr-defined]
    assert session_kind.master(here) == "local[2]"
    assert not session_kind.master(there).startswith("local")


def test_settings_that_a_server_refuses_are_named() -> None:
    settings = {"spark.sql.session.timeZone": "UTC", "spark.sql.legacy.javaCharsets": "true"}
    assert session_kind.set_settings(client(), settings) == ["spark.sql.legacy.javaCharsets"]


def test_the_jobs_of_a_client_are_cancelled_by_their_tag() -> None:
    session = client()
    with session_kind.cancellable(session) as cancel:
        cancel()
    tags = session.tags  # type: ignore[attr-defined]
    assert [tag.partition("reweight-")[0] for tag in tags] == ["", "stop ", "no "]


def test_what_is_sent_to_a_server_has_a_limit(spark: SparkSession) -> None:
    session_kind.check_sent(client(), session_kind.SENT_LIMIT, "the models")
    session_kind.check_sent(spark, 1 << 40, "the models")
    with pytest.raises(SetupError) as error:
        session_kind.check_sent(client(), session_kind.SENT_LIMIT + (1 << 20), "the models")
    assert (error.value.expected[:15], error.value.got) == ("at most 60 MiB,", "61 MiB")
    assert "classic session" in error.value.fix


def test_expressions_of_chance_are_known(spark: SparkSession) -> None:
    empty = spark.createDataFrame([], "a int, b string")
    for sql in ("a + 1", "upper(b)", "array(a)", "current_date()"):
        assert is_deterministic(empty, sql), sql
    for sql in ("rand()", "a + monotonically_increasing_id()", "uuid()", "shuffle(array(a, 1))"):
        assert not is_deterministic(empty, sql), sql


def test_rows_that_a_server_does_not_keep_are_staged(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = spark.range(5).select("id", F.array(F.lit(1.0)).alias("features"))

    def refused(*_: Any) -> None:
        raise PySparkException("[NOT_SUPPORTED_WITH_SERVERLESS] PERSIST TABLE is not supported")

    with persisted.persisted(rows) as kept:
        assert kept.storageLevel.useDisk
        with persisted.persisted(rows), ExitStack() as stack:
            persisted.keep(rows, stack)
        # Who keeps them first frees them.
        assert kept.storageLevel.useDisk
    assert not kept.storageLevel.useDisk
    monkeypatch.setattr(type(rows), "persist", refused)
    folder = tmp_path / "staged"
    (folder / "of a killed attempt").mkdir(parents=True)
    with persisted.staged_in(folder):
        with persisted.persisted(rows) as kept:
            assert len(list(folder.iterdir())) == 1
            assert kept.schema.simpleString() == rows.schema.simpleString()
            assert kept.count() == 5
        assert not any(folder.iterdir())
    assert not folder.exists()
    with pytest.raises(PySparkException), persisted.persisted(rows):
        pass
    with ExitStack() as stack:
        persisted.keep(rows, stack)
        assert not rows.storageLevel.useDisk


def test_calls_side_by_side_give_their_results_in_order_and_can_be_cancelled(
    spark: SparkSession,
) -> None:
    met = Barrier(3)

    def count(rows: int) -> tuple[int, bool]:
        # Three at once, or the barrier breaks.
        met.wait(timeout=60)
        tags = spark.sparkContext.getJobTags()
        return spark.range(rows).count(), len(tags) == 1

    with session_kind.cancellable(spark):
        found = session_kind.side_by_side(spark, count, [30, 10, 20], at_once=3)
    assert found == [(30, True), (10, True), (20, True)]


def test_a_client_calls_one_after_the_other() -> None:
    client = cast(SparkSession, Client())
    here = [get_ident()] * 2
    assert session_kind.side_by_side(client, lambda _: get_ident(), [1, 2], at_once=2) == here
