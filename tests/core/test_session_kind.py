"""What differs between a session with a JVM and a client of Spark Connect."""

from pathlib import Path
from threading import Barrier, get_ident
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from reweight.core import persisted, session_kind
from reweight.core.errors import SetupError
from reweight.core.expressions import is_deterministic


class Client:
    """Looks like a client of Spark Connect."""

    __module__ = "pyspark.sql.connect.session"

    def __init__(self) -> None:
        self.client = SimpleNamespace(host="localhost")
        self.tags: list[str] = []
        self.conf = SimpleNamespace(get=lambda *_: "local[2]", set=self.refuse)

    def sql(self, text: str) -> None:
        self.tags.append(text.split()[0])
        if text.startswith("DESCRIBE"):
            raise PySparkException("[DELTA_TABLE_ONLY_OPERATION]")

    def refuse(self, key: str, value: str) -> None:
        if "timeZone" not in key:
            raise PySparkException(f"[CONFIG_NOT_AVAILABLE] {key}")

    def addTag(self, tag: str) -> None:  # noqa: N802
        self.tags.append(tag)

    def removeTag(self, tag: str) -> None:  # noqa: N802
        self.tags.append(f"no {tag}")

    def interruptTag(self, tag: str) -> None:  # noqa: N802
        self.tags.append(f"stop {tag}")


def client() -> SparkSession:
    return cast(SparkSession, Client())


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


def test_a_client_lists_the_files_that_hadoop_lists(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("a/x 1.csv", "a/_hidden.csv", "b/day=1/y.csv", "b/.z.csv", "c/[1].csv"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("PAR1 and more")
    paths = ["", "/a", "/a/x 1.csv", "/c/[1].csv", "/*/x*.csv", "/{a,b}", "/none", "/b/day=*"]
    for path in paths:
        for scheme in ("", "file:"):
            place = f"{scheme}{tmp_path}{path}"
            by_hadoop = session_kind.listed(spark, place)
            here = session_kind.listed(client(), place)
            assert here.exists == by_hadoop.exists, place
            assert sorted(here.roots) == sorted(by_hadoop.roots), place
            assert sorted(here.under) == sorted(by_hadoop.under), place
    file = f"file:{tmp_path}/a/x 1.csv"
    assert session_kind.first_bytes(client(), file, 4) == b"PAR1"
    assert session_kind.first_bytes(spark, file, 4) == b"PAR1"


def test_a_client_lists_what_only_the_server_sees(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(4, numPartitions=2).write.csv(str(tmp_path / "log"))
    found = session_kind._listed_by_reader(spark, str(tmp_path / "log"))
    assert (found.exists, found.roots) == (True, [(str(tmp_path / "log"), True)])
    assert len(found.under) == 2
    one = session_kind._listed_by_reader(spark, found.under[0])
    assert (one.exists, one.roots) == (True, [(found.under[0], False)])
    assert not session_kind._listed_by_reader(spark, str(tmp_path / "none")).under


def test_folders_are_copied_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    session_kind.upload(client(), tmp_path / "model", str(tmp_path / "saved" / "model"))
    session_kind.download(client(), f"file:{tmp_path}/saved/model", tmp_path / "back")
    assert (tmp_path / "back" / "model.json").read_text() == "{}"


@pytest.mark.parametrize("commit", [False, True])
def test_only_a_log_without_a_commit_is_dropped(tmp_path: Path, commit: bool) -> None:
    log = tmp_path / "table" / "_delta_log"
    log.mkdir(parents=True)
    (log / ("00000000000000000000.json" if commit else ".tmp")).touch()
    session_kind.drop_empty_log(client(), str(tmp_path / "table"))
    assert log.exists() == commit


def test_a_client_makes_no_table_around_other_files(tmp_path: Path) -> None:
    session, columns = client(), StructType([StructField("run_id", StringType())])
    session_kind.make_delta(session, str(tmp_path / "table"), columns, {})
    assert session.tags == ["CREATE"]  # type: ignore[attr-defined]
    (tmp_path / "part-0.parquet").touch()
    with pytest.raises(PySparkException, match="NON_EMPTY_LOCATION"):
        session_kind.make_delta(session, str(tmp_path), columns, {})


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
