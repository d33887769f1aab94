"""The vectors of texts: each distinct text is encoded once, for all runs of a root.

The table ``texts`` holds the vectors by a 128-bit hash of the text. Runs add what is missing. A
text that two runs add at the same time is there twice, with the same vector, and counts once.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.encoders import encoder_of
from reweight.build_samples.encoders.base import Encode
from reweight.build_samples.texts import EncodedText
from reweight.core.errors import SetupError
from reweight.core.expressions import raised_in_python
from reweight.core.session_kind import slots
from reweight.core.store import Store
from reweight.core.tables import TEXTS

# Of a longer text, so many characters are read.
LONGEST = 4_000
_TEXTS_PER_TASK = 50_000
# Long texts have thousands of n-grams or tokens each, which are in memory together.
_AT_ONCE = 1_000
# Vectors of so many bytes are sent to all executors; more are joined by a shuffle.
_BROADCAST_BYTES = 32_000_000
# A text of so many rows is sent to all executors too, so that no task has to hold its rows.
_HOT_ROWS = 10_000
# Rows without a text are spread over so many keys of the shuffle, none of which exists.
_SPREAD = 1_000

# (encoder, its version, dim): what texts can share.
Kind = tuple[str, str, int]


@dataclass(frozen=True)
class Embeddings:
    """The vectors of the texts of some samples.

    Attributes:
        texts: name -> its settings.
        vectors: name -> ``text_hash`` and ``vector``, a row for each distinct text.
        hot: name -> those of its texts that many rows have; nothing if all are sent anyway.
        summary: how many texts there are, and how many were encoded now.
    """

    texts: Mapping[str, EncodedText]
    vectors: Mapping[str, DataFrame]
    hot: Mapping[str, DataFrame]
    summary: Mapping[str, int]

    @property
    def columns(self) -> list[str]:
        """The columns that ``joined`` adds."""
        return [_vector(name) for name in self.texts]

    def joined(self, samples: DataFrame) -> DataFrame:
        """Adds a vector for each text, null where there is none."""
        for name, text in self.texts.items():
            samples = samples.withColumn("_text", _hash(_read(text)))
            vectors = self.vectors[name].select(
                F.col("text_hash").alias("_text"), F.col("vector").alias(_vector(name))
            )
            if name in self.hot:
                samples = _joined_apart(samples, vectors, self.hot[name])
            else:
                samples = samples.join(F.broadcast(vectors), on="_text", how="left")
            samples = samples.drop("_text")
        return samples

    def numbers(self) -> list[Column]:
        """The numbers of each text that is a feature, array<double>, nulls where there is none."""
        return [
            F.coalesce(
                F.col(_vector(name)).cast("array<double>"),
                F.array_repeat(F.lit(None).cast("double"), text.dim),
            )
            for name, text in self.texts.items()
            if text.in_features
        ]

    def cosine(self, one: str, other: str) -> Column:
        """The cosine of two texts; null where one of them is missing."""
        products = F.zip_with(_vector(one), _vector(other), lambda x, y: x.cast("double") * y)
        return F.aggregate(products, F.lit(0.0), lambda total, x: total + x)


@contextmanager
def embedded(
    store: Store, samples: DataFrame, texts: Mapping[str, EncodedText]
) -> Iterator[Embeddings | None]:
    """Encodes the texts that no run has encoded yet, and gives the vectors of all.

    Args:
        store: the tables.
        samples: rows with the columns that the texts are made of.
        texts: name -> its settings; if empty, there is nothing to do.

    Raises:
        SetupError: an executor lacks the encoder, or has another version.
    """
    if not texts:
        yield None
        return
    kinds = {name: (t.encoder, t.encodes.identity(), t.dim) for name, t in texts.items()}
    of = list(dict.fromkeys(kinds.values()))
    distinct_texts = _distinct_texts(store, samples, texts, kinds, of).persist(
        StorageLevel.DISK_ONLY
    )
    try:
        counted = F.count("*").alias("n"), F.count(F.when(~F.col("known"), 1)).alias("missing")
        # Small: a row for each kind.
        counts = {r["kind"]: r for r in distinct_texts.groupBy("kind").agg(*counted).collect()}
        missing = sum(row["missing"] for row in counts.values())
        if missing:
            _add(store, distinct_texts.where("NOT known"), missing, of)
        summary = {"distinct": sum(row["n"] for row in counts.values()), "encoded": missing}
        vectors = [_vectors(store, distinct_texts, kind, number) for number, kind in enumerate(of)]
        large = {
            number
            for number, row in counts.items()
            if row["n"] * (4 * of[number][2] + 100) > _BROADCAST_BYTES
        }
        often = distinct_texts.where(F.col("count") > _HOT_ROWS)
        places = {name: of.index(kind) for name, kind in kinds.items()}
        yield Embeddings(
            texts,
            {name: vectors[i] for name, i in places.items()},
            {name: _among(vectors[i], often, i) for name, i in places.items() if i in large},
            summary,
        )
    finally:
        distinct_texts.unpersist()


def _read(text: EncodedText) -> Column:
    """The characters of a text that are read; null for one that has none but spaces."""
    value = F.expr(text.value)
    return F.when(value.rlike(r"(?U)\S"), F.substring(value, 1, LONGEST))


def _hash(text: Column) -> Column:
    """128 bits of SHA-256: among 10^12 texts, two with one hash have a chance of 10^-15."""
    return F.substring(F.sha2(text, 256), 1, 32)


def _vector(name: str) -> str:
    return f"_vector_{name}"


def _distinct_texts(
    store: Store,
    samples: DataFrame,
    texts: Mapping[str, EncodedText],
    kinds: Mapping[str, Kind],
    of: list[Kind],
) -> DataFrame:
    """The distinct texts: ``kind``, ``text_hash``, ``text``, ``count``, and whether ``known``."""
    values = [
        F.struct(F.lit(of.index(kinds[name])).alias("kind"), _read(text).alias("text"))
        for name, text in texts.items()
    ]
    rows = samples.select(F.inline(F.array(*values))).where("text IS NOT NULL")
    distinct = rows.groupBy("kind", "text").count().withColumn("text_hash", _hash(F.col("text")))
    stored = store.read_of_all_runs(TEXTS)
    if stored is None:
        return distinct.withColumn("known", F.lit(False))
    numbers = [F.when(_is_of(kind), F.lit(number)) for number, kind in enumerate(of)]
    keys = stored.select(F.coalesce(*numbers).alias("kind"), "text_hash")
    keys = keys.where("kind IS NOT NULL").distinct().withColumn("_there", F.lit(True))
    joined = distinct.join(keys, on=["kind", "text_hash"], how="left")
    return joined.withColumn("known", F.col("_there").isNotNull()).drop("_there")


def _is_of(kind: Kind) -> Column:
    _, identity, dim = kind
    return (F.col("encoder") == identity) & (F.col("dim") == dim)


def _add(store: Store, missing: DataFrame, count: int, of: list[Kind]) -> None:
    """Encodes texts and adds them to the table, in one commit."""
    cores = slots(missing.sparkSession)
    # By a number: Spark would put small texts into one partition, which a single core encodes.
    tasks = max(min(cores, count), count // _TEXTS_PER_TASK)
    texts = missing.select("kind", "text_hash", "text").repartition(tasks, "text_hash")

    def encode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from _encoded(batch, of)

    schema = "encoder string, dim int, text_hash string, vector array<float>"
    # A condition that no other row meets: nothing is replaced.
    written = uuid.uuid4().hex
    rows = texts.mapInArrow(encode, schema).withColumn("batch", F.lit(written))
    try:
        store.write(TEXTS, rows, where=f"batch = '{written}'")
    except Exception as error:
        if "Traceback (most recent call last)" not in str(error):
            raise
        raise SetupError(
            "an executor could not encode texts",
            expected=f"on all machines: {', '.join(identity for _, identity, _ in of)}",
            got=raised_in_python(error),
            fix="install the package in this version on all machines, put the model's folder where "
            "all of them see it, or write encoder: hashed; then start the job again",
        ) from error


def _encoded(batch: pa.RecordBatch, of: list[Kind]) -> Iterator[pa.RecordBatch]:
    """The rows of the table for a batch of ``kind``, ``text_hash`` and ``text``."""
    for number, (encoder, identity, dim) in enumerate(of):
        rows = batch.filter(pc.equal(batch.column("kind"), number))
        if not len(rows):
            continue
        # Spark's strings may hold bytes that are no UTF-8.
        raw = rows.column("text").cast(pa.binary()).to_pylist()
        texts, encode = [t.decode("utf-8", "replace") for t in raw], _loaded(encoder, identity, dim)
        parts = [encode(texts[i : i + _AT_ONCE]) for i in range(0, len(texts), _AT_ONCE)]
        values = pa.array(np.concatenate(parts).reshape(-1))
        columns = [
            pa.array([identity] * len(rows)),
            pa.array([dim] * len(rows), pa.int32()),
            rows.column("text_hash"),
            pa.ListArray.from_arrays(pa.array(range(0, len(values) + 1, dim), pa.int32()), values),
        ]
        yield pa.RecordBatch.from_arrays(columns, ["encoder", "dim", "text_hash", "vector"])


@lru_cache(maxsize=4)
def _loaded(encoder: str, identity: str, dim: int) -> Encode:
    """The encoder, loaded once for each worker process."""
    chosen = encoder_of(encoder)
    chosen.check()
    if (installed := chosen.identity()) != identity:
        raise RuntimeError(f"this machine has {installed} instead of {identity}")
    return chosen.load(dim)


def _vectors(store: Store, texts: DataFrame, kind: Kind, number: int) -> DataFrame:
    """The vectors of the texts of a kind: ``text_hash`` and ``vector``."""
    stored = store.read_of_all_runs(TEXTS)
    if stored is None:  # There is no text.
        return texts.where("false").selectExpr("text_hash", "array(0F) AS vector")
    rows = stored.where(_is_of(kind)).select("text_hash", "vector")
    return _among(rows, texts, number).groupBy("text_hash").agg(F.min("vector").alias("vector"))


def _among(vectors: DataFrame, texts: DataFrame, number: int) -> DataFrame:
    keys = texts.where(F.col("kind") == number).select("text_hash")
    return vectors.join(keys, on="text_hash", how="left_semi")


def _joined_apart(samples: DataFrame, vectors: DataFrame, hot: DataFrame) -> DataFrame:
    """Joins by a shuffle that leaves out rows without a text, and rows of texts that many have."""
    name = vectors.columns[1]
    often = hot.select(F.col("text_hash").alias("_text"), F.col("vector").alias("_often"))
    samples = samples.join(F.broadcast(often), on="_text", how="left")
    nobody = F.concat(F.lit("-"), F.pmod(F.monotonically_increasing_id(), F.lit(_SPREAD)))
    shuffled = F.col("_text").isNotNull() & F.col("_often").isNull()
    samples = samples.withColumn("_rest", F.when(shuffled, F.col("_text")).otherwise(nobody))
    samples = samples.join(vectors.withColumnRenamed("_text", "_rest"), on="_rest", how="left")
    return samples.withColumn(name, F.coalesce("_often", name)).drop("_often", "_rest")
