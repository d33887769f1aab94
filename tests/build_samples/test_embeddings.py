"""Vectors of texts in Spark: each text is encoded once, whatever it is and however it is joined."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples import embeddings
from reweight.build_samples.embeddings import Embeddings, embedded
from reweight.build_samples.encoders.hashed import Hashed
from reweight.build_samples.encoding import check_features, with_features, with_raw_features
from reweight.build_samples.feature_stats import FeatureStats, fit_features
from reweight.build_samples.features import Features
from reweight.build_samples.texts import EncodedText
from reweight.core.errors import SampleError, SetupError, SourceError
from reweight.core.store import Store
from reweight.core.store_places import open_store
from reweight.core.tables import TEXTS

LONG = "sofa " * 200_000
TITLES = [
    *("red sofa", "red sofa", "red sofa", "red sofa", "RED SOFA!", "lamp", None, "", " \t\u00a0"),
    *(LONG, LONG[:4000] + "and more", "красный диван", "红色沙发", "😀"),
]
QUERIES = ["sofa", None, "lamp", "red sofa", "sofa", "lamp", "sofa", *["sofa"] * 7]
TEXT = {
    "query": EncodedText(value="query", dim=16, in_features=False),
    "title": EncodedText(value="title", dim=16),
}
FEATURES = Features(text=TEXT, similarity={"like": ("query", "title")}, numeric={"n": "n"})


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    values = [(n, *pair) for n, pair in enumerate(zip(QUERIES, TITLES, strict=True))]
    return spark.createDataFrame(values, "n long, query string, title string").cache()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


@pytest.fixture
def store(spark: SparkSession, root: Path) -> Store:
    return open_store(spark, str(root), "first")


@pytest.fixture(scope="module")
def encoded(spark: SparkSession, rows: DataFrame, root: Path) -> Iterator[Embeddings]:
    """The texts, encoded by the run that is the first one."""
    with embedded(open_store(spark, str(root), "first"), rows, TEXT) as found:
        assert found is not None
        yield found


def vectors(found: Embeddings, rows: DataFrame) -> dict[str, list[list[float] | None]]:
    joined = found.joined(rows).orderBy("n").select("n", *found.columns).collect()
    assert [row["n"] for row in joined] == list(range(len(TITLES)))
    return {name: [row[f"_vector_{name}"] for row in joined] for name in TEXT}


def expected(texts: list[str | None]) -> list[list[float] | None]:
    encode = Hashed().load(16)
    known = [None if t is None or not t.strip() else t[:4000] for t in texts]
    found: NDArray[np.float32] = encode([t or "" for t in known])
    return [None if t is None else v for t, v in zip(known, found.tolist(), strict=True)]


def test_each_text_is_encoded_once_for_all_runs(
    spark: SparkSession, rows: DataFrame, root: Path, encoded: Embeddings, store: Store
) -> None:
    # `red sofa` and `lamp` are queries and titles, and two long texts begin alike.
    assert encoded.summary == {"distinct": 8, "encoded": 8}
    assert vectors(encoded, rows) == {"query": expected(QUERIES), "title": expected(TITLES)}
    table = store.read_of_all_runs(TEXTS)
    assert table is not None
    assert {row["encoder"] for row in table.collect()} == {"hashed 1"}
    more = spark.createDataFrame(
        [(99, "sofa", "a new title")], "n long, query string, title string"
    )
    with embedded(open_store(spark, str(root), "second"), rows.union(more), TEXT) as found:
        assert found is not None
        assert found.summary == {"distinct": 9, "encoded": 1}
    # Another length is another vector; a text whose bytes are no UTF-8 is one too.
    broken = rows.withColumn("title", F.expr("CAST(unhex('ff41') AS string)"))
    with embedded(store, broken, {"title": EncodedText(value="title", dim=8)}) as found:
        assert found is not None
        assert found.summary == {"distinct": 1, "encoded": 1}
        vector = found.joined(broken).first()
    assert vector is not None
    assert vector["_vector_title"] == Hashed().load(8)(["\ufffdA"])[0].tolist()


def test_large_tables_are_joined_apart_from_frequent_and_missing_texts(
    rows: DataFrame, encoded: Embeddings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_BROADCAST_BYTES", 0)
    monkeypatch.setattr(embeddings, "_HOT_ROWS", 3)
    with embedded(store, rows, TEXT) as found:
        assert found is not None
        assert found.summary["encoded"] == 0
        assert sorted(r["text_hash"] for r in found.hot["title"].collect()) == sorted(
            rows.where("title = 'red sofa' OR query = 'sofa'")
            .selectExpr("explode(array('red sofa', 'sofa')) AS t")
            .distinct()
            .select(F.substring(F.sha2("t", 256), 1, 32).alias("h"))
            .toPandas()["h"]
        )
        assert vectors(found, rows) == vectors(encoded, rows)


def test_what_two_runs_added_at_the_same_time_counts_once(
    spark: SparkSession, rows: DataFrame, encoded: Embeddings, root: Path
) -> None:
    third = open_store(spark, str(root), "third")
    added = third.read_of_all_runs(TEXTS)
    assert added is not None
    third.write(TEXTS, added.drop("run_id"))
    with embedded(third, rows, TEXT) as found:
        assert found is not None
        assert found.summary == {"distinct": 8, "encoded": 0}
        assert vectors(found, rows) == vectors(encoded, rows)


def test_a_similarity_is_the_cosine_and_a_missing_text_is_marked(
    rows: DataFrame, encoded: Embeddings
) -> None:
    raw = with_raw_features(rows, rows, FEATURES, encoded).cache()
    query, title = expected(QUERIES), expected(TITLES)
    numbers = [row["_numbers"] for row in raw.orderBy("n").select("_numbers").collect()]
    for n, (q, t) in enumerate(zip(query, title, strict=True)):
        cosine = None if q is None or t is None else float(np.dot(q, t))
        assert numbers[n][1] == (None if cosine is None else pytest.approx(cosine, abs=1e-6))
        assert numbers[n][2:] == (t or [None] * 16)
    stats = fit_features(raw, FEATURES)
    assert stats.texts == {"query": "hashed 1, dim 16", "title": "hashed 1, dim 16"}
    dense = with_features(raw, FEATURES, stats).orderBy("n").select("features").collect()
    by_name = [dict(zip(stats.names, row["features"], strict=True)) for row in dense]
    assert [n for n, row in enumerate(by_name) if row["title_missing"]] == [6, 7, 8]
    assert [n for n, row in enumerate(by_name) if row["like_missing"]] == [1, 6, 7, 8]
    assert {by_name[7][f"title_{i}"] for i in range(16)} == {0.0}
    highest = max(row["like"] for row in by_name)
    assert by_name[3]["like"] == pytest.approx(highest, abs=1e-6)
    with pytest.raises(SampleError) as caught:
        with_features(raw, FEATURES, stats.model_copy(update={"texts": {"title": "hashed 0"}}))
    assert caught.value.what.endswith("other encoders of the text(s) ['query', 'title']")
    assert "hashed 0" in caught.value.expected
    assert "'title': 'hashed 1, dim 16'" in caught.value.got
    assert FeatureStats.model_validate_json(stats.model_dump_json()) == stats


def test_a_value_that_is_no_text_is_refused(rows: DataFrame) -> None:
    features = Features(text={"title": EncodedText(value="n + 1")})
    with pytest.raises(SourceError) as caught:
        check_features(rows, rows, features)
    assert caught.value.what == "features.text.title.value is not a text"
    assert caught.value.got == "n + 1: bigint"
    assert "write value: cast(n + 1 AS string)" in caught.value.fix
    with pytest.raises(SourceError, match="do not fit"):
        check_features(rows, rows, Features(text={"title": EncodedText(value="heading")}))


def test_a_machine_with_another_version_is_named_and_nothing_is_written(
    spark: SparkSession, rows: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(spark, str(tmp_path), "other")
    with monkeypatch.context() as patch:
        # Here only; the workers have what is installed.
        patch.setattr(Hashed, "identity", lambda self: "hashed 2")
        with pytest.raises(SetupError) as caught, embedded(store, rows, TEXT):
            pass
    assert caught.value.got.endswith("this machine has hashed 1 instead of hashed 2")
    assert "\tat " not in str(caught.value)
    with embedded(store, rows, TEXT) as found:
        assert found is not None
        assert found.summary == {"distinct": 8, "encoded": 8}
    with embedded(store, rows, {}) as found:
        assert found is None
