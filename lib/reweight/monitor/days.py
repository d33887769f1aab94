"""Samples and weights -> rows of numbers by day, beside those of the reference window."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.asked_days import EPOCH
from reweight.core.hashing import uniform
from reweight.core.run_folder import RunFolder
from reweight.core.store import Store
from reweight.core.tables import SAMPLES, WEIGHTS
from reweight.daily.days import read_days, usual_raw_rows
from reweight.evaluate.random_slice import ROWS, half, separation
from reweight.monitor.measures import REFERENCE, Variable

# Segments whose volume is shown, the largest of the reference.
_SEGMENTS = 10


def with_values(
    store: Store, run_id: str, methods: Sequence[str], by_age: Collection[str]
) -> DataFrame:
    """The samples of a run with a day and, of each method, importance and weight.

    Args:
        store: the tables.
        run_id: the run.
        methods: names of methods with weights.
        by_age: those of them whose importance depends on whether a label window is open. The newest
            day has open windows only, and the reference has few: rows with one have no values.

    Returns:
        The columns of ``samples``, ``day``, days since 1970, and ``weighed``: the importance of all
        methods, then their weights.
    """
    weights = store.read(WEIGHTS, run_id)
    pairs = [(column, method) for column in ("importance", "weight") for method in methods]
    values = [F.max(F.when(F.col("method") == m, F.col(column))) for column, m in pairs]
    wide = weights.groupBy("sample_id").agg(F.array(*values).alias("weighed"))
    usable = [
        F.when(F.col("mature") | F.lit(method not in by_age), F.get("weighed", F.lit(i)))
        for i, (_, method) in enumerate(pairs)
    ]
    samples = with_day(store.read(SAMPLES, run_id))
    return samples.join(wide, on="sample_id", how="inner").withColumn("weighed", F.array(*usable))


def with_day(samples: DataFrame) -> DataFrame:
    """Samples with ``day``, days since 1970; null without a time."""
    day = F.floor(F.unix_seconds("event_time") / 86_400).cast("int")
    return samples.withColumn("day", day)


def within(rows: DataFrame, span: tuple[date | None, date | None]) -> DataFrame:
    """The rows of the days from the first to the last; of all days with a time by default."""
    first, last = span
    rows = rows.where("day IS NOT NULL")
    if first is not None:
        rows = rows.where(F.col("day") >= (first - EPOCH).days)
    return rows if last is None else rows.where(F.col("day") <= (last - EPOCH).days)


@dataclass(frozen=True)
class Layout:
    """Which numbers a row is counted by, and how they are computed.

    Attributes:
        features: names of the dense features, [D].
        steady: indices of those that do not follow the time by themselves.
        methods: names of the methods.
        segments: the segments whose volume is counted.
    """

    features: tuple[str, ...]
    steady: tuple[int, ...]
    methods: tuple[str, ...]
    segments: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables, in the order of ``values``."""
        return (
            *[Variable("psi_features", n, i in self.steady) for i, n in enumerate(self.features)],
            *[Variable("psi_importance", name) for name in self.methods],
            *[Variable("psi_weights", name) for name in self.methods],
            Variable("volume", ""),
            Variable("label_rate", ""),
            Variable("open_windows", ""),
            *[Variable("volume", segment, limited=False) for segment in self.segments],
        )

    @property
    def quantiles(self) -> int:
        """How many variables, the first ones, are cut at quantiles of the reference."""
        return len(self.features) + 2 * len(self.methods)

    @property
    def measured(self) -> Column:
        """The variables that are cut at quantiles, an array."""
        return F.concat(F.col("features").cast("array<double>"), F.col("weighed"))

    @property
    def values(self) -> Column:
        """All variables of a row, an array; NaN where one does not apply."""
        none = F.lit(float("nan"))
        label = F.when(F.col("mature"), F.col("label").cast("double"))
        segments = [
            F.when(F.col("segment") == segment, F.lit(1.0)).otherwise(none)
            for segment in self.segments
        ]
        single = (F.lit(1.0), F.coalesce(label, none), 1.0 - F.col("mature").cast("double"))
        return F.concat(self.measured, F.array(*single, *segments))


def largest_segments(reference: DataFrame) -> tuple[str, ...]:
    """The largest segments of the reference; none if all rows are of one."""
    rows = reference.where("segment IS NOT NULL").groupBy("segment").count()
    # Small by nature: as many as a page shows.
    largest = rows.orderBy(F.desc("count"), "segment").limit(_SEGMENTS).collect()
    return tuple(row["segment"] for row in largest) if len(largest) > 1 else ()


def areas(
    reference: DataFrame,
    rows: DataFrame,
    counts: dict[int, float],
    places: Sequence[int],
    seed: int,
) -> dict[int, tuple[float, int]]:
    """Day -> AUC of a classifier of the day against the reference, and the rows it was scored on.

    Each day is one task, on at most 5,000 rows of either side.

    Args:
        reference: rows with ``sample_id``, ``group_id`` and ``features``.
        rows: those of the days, with ``day``.
        counts: day -> number of rows, with that of the reference under ``REFERENCE``.
        places: indices of the features that it may use.
        seed: seed of the rows and halves.
    """
    if not places or not counts.get(REFERENCE):
        return {}
    features = F.array(*[F.get("features", F.lit(i)) for i in places]).alias("features")
    columns = (half(seed).alias("fitted"), features)
    drawn = uniform(seed, "domain", "sample_id")
    # Small by nature: about 5,000 rows.
    reference_rows = reference.where(drawn <= ROWS / counts[REFERENCE]).select(*columns).toPandas()
    if reference_rows.empty:
        return {}
    reference_features = np.stack(reference_rows["features"].tolist())
    halves = reference_rows["fitted"].to_numpy(bool)
    shares = [(day, min(1.0, ROWS / n)) for day, n in counts.items() if day != REFERENCE]
    share = rows.sparkSession.createDataFrame(shares, "day int, share double")
    chosen = rows.join(F.broadcast(share), on="day", how="inner").where(drawn <= F.col("share"))

    def area(frame: pd.DataFrame) -> pd.DataFrame:
        day_features = np.stack(frame["features"].tolist())
        inside = np.repeat([True, False], [len(day_features), len(reference_features)])
        fitted = np.concatenate([frame["fitted"].to_numpy(bool), halves])
        day_auc = separation(np.concatenate([day_features, reference_features]), inside, fitted)
        scored = min(int((inside & ~fitted).sum()), int((~inside & ~fitted).sum()))
        return pd.DataFrame({"day": [int(frame["day"].iloc[0])], "area": [day_auc], "n": [scored]})

    by_day = chosen.select("day", *columns).groupBy("day")
    # Small by nature: one row per day.
    area_rows = by_day.applyInPandas(area, "day int, area double, n bigint").collect()
    return {row["day"]: (row["area"], row["n"]) for row in area_rows if row["area"] is not None}


def raw_rows(folder: RunFolder) -> dict[int, dict[str, tuple[int, float | None]]]:
    """Day -> source -> the raw rows that it delivered, and how many are usual by the days before.

    Args:
        folder: of the run; only days of the job ``daily`` are known by source.
    """
    known = read_days(folder)
    return {
        (day - EPOCH).days: {
            source: (rows, usual_raw_rows(day, known, source))
            for source, rows in delivered.raw.items()
        }
        for day, delivered in known.items()
    }


def days_to_report(counts: Sequence[int], span: tuple[date | None, date | None]) -> list[int]:
    """The days that were asked for, those without rows too; all between the first and the last."""
    ends = [None if end is None else (end - EPOCH).days for end in span]
    first = min(counts, default=None) if ends[0] is None else ends[0]
    last = max(counts, default=None) if ends[1] is None else ends[1]
    return [] if first is None or last is None else list(range(first, last + 1))


@dataclass(frozen=True)
class Window:
    """The days of the reference: those with training rows.

    Attributes:
        first: the first of them, in days since 1970; None if there are none.
        volume: segment -> the samples that it has on a mean day, of all splits, since those of the
            days that are compared are of all splits too. Under "": of all segments.
    """

    first: int | None
    volume: dict[str, float]


def window(samples: DataFrame, segments: Sequence[str]) -> Window:
    """The window of samples with ``day``, ``split`` and ``segment``, and its volume."""
    # All samples come last, so that a segment without a name does not take their place.
    counts = [*[F.count_if(F.col("segment") == s) for s in segments], F.count(F.lit(1))]
    names = [f"n{i}" for i in range(len(counts))]
    by_day = (
        samples.where("day IS NOT NULL")
        .groupBy("day")
        .agg(
            F.bool_or(F.col("split") == "train").alias("trained"),
            *[count.alias(name) for count, name in zip(counts, names, strict=True)],
        )
    )
    means = [F.mean(name).alias(name) for name in names]
    row = by_day.where("trained").agg(F.min("day").alias("first"), *means).first()
    assert row is not None
    volume = dict(zip((*segments, ""), [row[name] for name in names], strict=True))
    return Window(row["first"], volume if row["first"] is not None else {})
