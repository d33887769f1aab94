"""Samples -> numbers: declared columns, times, and aggregates of what happened before.

A history feature of a sample counts events in whole grains of time (hours or days) that ended
before the sample's own grain began. So it uses nothing of the sample's own time or later, and a key
with a billion events is a row per grain before any task has to hold it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

from pydantic import Field, model_validator
from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from reweight.errors import SampleError
from reweight.expressions import check_expressions
from reweight.section import Name, Seconds, Section, Sql


class History(Section):
    """Aggregates of the events before a sample that share its keys.

    Attributes:
        keys: columns in which events and sample are equal (user; item; user and item; category).
        counts: name -> condition on the events that are counted; enters as log(1 + count).
        rates: name -> [count, count]: the first over the second; missing where the second is 0.
        recency: counts whose latest event's age, in days as log(1 + days), is a feature.
        windows: how far back; ``all`` for everything before.
        grain: step of time; a sample sees whole steps that ended before its own began.
    """

    keys: tuple[Name, ...] = Field(min_length=1)
    counts: dict[Name, Sql] = Field(min_length=1)
    rates: dict[Name, tuple[Name, Name]] = {}
    recency: tuple[Name, ...] = ()
    windows: tuple[Seconds | Literal["all"], ...] = ("all",)
    grain: Seconds = 86400

    @model_validator(mode="after")
    def _known_counts(self) -> "History":
        named = {*self.recency, *[n for pair in self.rates.values() for n in pair]}
        if unknown := sorted(named - set(self.counts)):
            raise ValueError(f"expected names among {sorted(self.counts)}; came {unknown}")
        if short := [w for w in self.windows if w != "all" and w < self.grain]:
            raise ValueError(f"expected windows of a grain ({self.grain} s) or more; came {short}")
        return self


class OneHot(Section):
    """A column with few values, one dense feature each.

    Attributes:
        value: expression.
        values: how many; the most frequent of the training split, others share none.
    """

    value: Sql
    values: int = Field(default=20, ge=1, le=1000)


class Categorical(Section):
    """A column with many values, one hashed id.

    Attributes:
        value: expression; null has the id 0 of its own.
        buckets: size of the id space of this field.
    """

    value: Sql
    buckets: int = Field(default=1024, ge=2)


class Features(Section):
    """The section ``features``.

    Attributes:
        numeric: name -> expression over the sample's columns; standardised, with an indicator of
            missing values (null, NaN, infinite).
        cyclic: parts of the sample's time, each as sine and cosine.
        one_hot: columns with few values.
        history: point-in-time aggregates.
        categorical: columns with many values, as hashed ``ids``.
        dim: length of the dense vector: padded with zeros, or refused when it is too small. None
            for as many as are declared.
    """

    numeric: dict[Name, Sql] = {}
    cyclic: tuple[Literal["hour_of_day", "day_of_week", "day_of_year"], ...] = ()
    one_hot: dict[Name, OneHot] = {}
    history: dict[Name, History] = {}
    categorical: dict[Name, Categorical] = {}
    dim: int | None = Field(default=None, ge=1)


class FeatureStats(Section):
    """What was learnt from the training split; enough to encode the rows of a later day.

    Attributes:
        names: of the dense features, length D.
        scaling: numeric feature -> (mean, scale).
        vocabulary: one-hot feature -> its values.
        cardinalities: categorical field -> size of its id space.
    """

    names: tuple[str, ...]
    scaling: dict[str, tuple[float, float]]
    vocabulary: dict[str, tuple[str, ...]]
    cardinalities: dict[str, int]


@dataclass(frozen=True)
class _Number:
    """A numeric feature: its name, and whether a row can lack it."""

    name: str
    optional: bool


_PERIODS = {
    "hour_of_day": "unix_seconds(event_time) % 86400 / 86400",
    "day_of_week": "(unix_seconds(event_time) / 86400) % 7 / 7",
    "day_of_year": "dayofyear(event_time) / 366",
}


def check_features(samples: DataFrame, events: DataFrame, features: Features) -> None:
    """Checks every expression of the section, on samples and events.

    Raises:
        SourceError: some do not fit; all of them are named together.
    """
    own = {f"numeric.{k}": v for k, v in features.numeric.items()}
    own |= {f"one_hot.{k}": f.value for k, f in features.one_hot.items()}
    own |= {f"categorical.{k}": f.value for k, f in features.categorical.items()}
    past: dict[str, str] = {}
    for name, history in features.history.items():
        own |= {f"history.{name}.keys.{k}": k for k in history.keys}
        past |= {f"history.{name}.keys.{k}": k for k in history.keys}
        past |= {f"history.{name}.counts.{k}": v for k, v in history.counts.items()}
    check_expressions(samples, own)
    check_expressions(events, past)


def with_raw_features(samples: DataFrame, events: DataFrame, features: Features) -> DataFrame:
    """Adds the features before any statistic: ``_n_*`` double, ``_o_*`` string, ``_c_*`` int."""
    for name, history in features.history.items():
        samples = _with_history(samples, events, name, history)
    numeric = {f"_n_{k}": _finite(F.expr(v)) for k, v in features.numeric.items()}
    one_hot = {f"_o_{k}": F.expr(f.value).cast("string") for k, f in features.one_hot.items()}
    ids = {f"_c_{k}": _hashed(f) for k, f in features.categorical.items()}
    return samples.withColumns({**numeric, **one_hot, **ids})


def fit_features(train: DataFrame, features: Features) -> FeatureStats:
    """Means, scales and vocabularies of the training split.

    Args:
        train: training rows of ``with_raw_features``.
        features: the section.

    Raises:
        SampleError: a feature has no value at all, or the vector does not fit into ``dim``.
    """
    numbers = list(_numbers(features))
    scaling = _scaling(train, numbers)
    vocabulary = _vocabulary(train, features)
    names = [
        *[n.name for n in numbers],
        *[f"{n.name}_missing" for n in numbers if n.optional],
        *[f"{part}_{wave}" for part in features.cyclic for wave in ("sin", "cos")],
        *[f"{name}={value}" for name, values in vocabulary.items() for value in values],
    ]
    dim = features.dim or len(names)
    if len(names) > dim or not names:
        raise SampleError(
            "the features do not fit into features.dim" if names else "no feature is declared",
            expected=f"1 to {dim} features" if names else "at least one dense feature",
            came=f"{len(names)}; beyond the limit: {names[dim:]}",
            do="raise features.dim, leave it out, or declare other features",
        )
    padding = [f"padding_{i}" for i in range(len(names), dim)]
    return FeatureStats(
        names=(*names, *padding),
        scaling=scaling,
        vocabulary=vocabulary,
        cardinalities={k: f.buckets for k, f in features.categorical.items()},
    )


def with_features(samples: DataFrame, features: Features, stats: FeatureStats) -> DataFrame:
    """Adds ``features`` array<float>[D] and ``ids`` array<int>[F]."""
    numbers = list(_numbers(features))
    values = [
        *[_scaled(f"_n_{n.name}", *stats.scaling[n.name]) for n in numbers],
        *[F.col(f"_n_{n.name}").isNull().cast("double") for n in numbers if n.optional],
        *[wave for part in features.cyclic for wave in _waves(part)],
        *[
            F.coalesce((F.col(f"_o_{name}") == value).cast("double"), F.lit(0.0))
            for name, known in stats.vocabulary.items()
            for value in known
        ],
    ]
    values += [F.lit(0.0)] * (len(stats.names) - len(values))
    ids = [F.col(f"_c_{name}") for name in stats.cardinalities]
    return samples.withColumns(
        {
            "features": F.array(*values).cast("array<float>"),
            "ids": F.array(*ids).cast("array<int>"),
        }
    )


def _numbers(features: Features) -> Iterator[_Number]:
    for name, history in features.history.items():
        for window in history.windows:
            for count in history.counts:
                yield _Number(f"{name}_{count}_{_short(window)}", optional=False)
            for rate in history.rates:
                yield _Number(f"{name}_{rate}_{_short(window)}", optional=True)
        for count in history.recency:
            yield _Number(f"{name}_{count}_age", optional=True)
    for name in features.numeric:
        yield _Number(name, optional=True)


def _with_history(samples: DataFrame, events: DataFrame, name: str, history: History) -> DataFrame:
    past = _past(samples, events, history)
    keyed = Window.partitionBy(*history.keys).orderBy("_grain")
    columns: dict[str, Column] = {}
    for window in history.windows:
        start = Window.unboundedPreceding if window == "all" else -(window // history.grain)
        columns |= _windowed(name, history, _short(window), keyed.rangeBetween(start, -1))
    latest = keyed.rangeBetween(Window.unboundedPreceding, -1)
    now = F.col("_grain") * history.grain
    for count in history.recency:
        age = now - F.max(f"_last_{count}").over(latest)
        columns[f"_n_{name}_{count}_age"] = F.log1p(age / 86400)
    known = past.withColumns(columns).where("_wanted").select(*history.keys, "_grain", *columns)
    joined = samples.withColumn("_grain", _grain(history)).join(
        known, on=[*history.keys, "_grain"], how="left"
    )
    # A sample whose key is null has no history: nothing counted, nothing known.
    counts = {
        f"_n_{name}_{count}_{_short(w)}": F.coalesce(
            F.col(f"_n_{name}_{count}_{_short(w)}"), F.lit(0.0)
        )
        for w in history.windows
        for count in history.counts
    }
    return joined.withColumns(counts).drop("_grain")


def _past(samples: DataFrame, events: DataFrame, history: History) -> DataFrame:
    """One row per key and grain in which there are events or samples: counts and latest times."""
    keyed = reduce(Column.__and__, [F.col(k).isNotNull() for k in history.keys])
    seconds = F.unix_seconds("event_time")
    counted = {f"_is_{n}": F.expr(sql) for n, sql in history.counts.items()}
    happened = events.where(keyed).select(
        *history.keys,
        _grain(history).alias("_grain"),
        *[F.when(c, seconds).alias(n) for n, c in counted.items()],
        F.lit(False).alias("_sample"),
    )
    asked = samples.where(keyed).select(
        *history.keys, _grain(history).alias("_grain"), F.lit(True).alias("_sample")
    )
    both = happened.unionByName(asked, allowMissingColumns=True)
    return both.groupBy(*history.keys, "_grain").agg(
        *[F.count(f"_is_{n}").alias(f"_count_{n}") for n in history.counts],
        *[F.max(f"_is_{n}").alias(f"_last_{n}") for n in history.recency],
        F.max("_sample").alias("_wanted"),
    )


def _windowed(name: str, history: History, short: str, over: WindowSpec) -> dict[str, Column]:
    sums = {n: F.sum(f"_count_{n}").over(over) for n in history.counts}
    counts = {
        f"_n_{name}_{n}_{short}": F.log1p(F.coalesce(total, F.lit(0))) for n, total in sums.items()
    }
    rates = {
        f"_n_{name}_{rate}_{short}": F.when(sums[below] > 0, sums[above] / sums[below])
        for rate, (above, below) in history.rates.items()
    }
    return counts | rates


def _scaling(train: DataFrame, numbers: list[_Number]) -> dict[str, tuple[float, float]]:
    if not numbers:
        return {}
    found: Any = train.agg(
        *[F.count(f"_n_{n.name}").alias(f"{n.name}.count") for n in numbers],
        *[F.avg(f"_n_{n.name}").alias(f"{n.name}.mean") for n in numbers],
        *[F.stddev_pop(f"_n_{n.name}").alias(f"{n.name}.scale") for n in numbers],
    ).first()
    if empty := [n.name for n in numbers if found[f"{n.name}.count"] == 0]:
        raise SampleError(
            f"the feature(s) {empty} have no value in the training split",
            expected="at least one row that is not null, NaN or infinite",
            came="none",
            do="check the expression, or leave the feature out",
        )
    # A constant has no scale: it becomes 0 in training, and a later change shows in its own unit.
    return {
        n.name: (
            float(found[f"{n.name}.mean"]),
            float(found[f"{n.name}.scale"]) if found[f"{n.name}.scale"] > 1e-12 else 1.0,
        )
        for n in numbers
    }


def _vocabulary(train: DataFrame, features: Features) -> dict[str, tuple[str, ...]]:
    if not features.one_hot:
        return {}
    pairs = F.array(
        *[F.struct(F.lit(k).alias("f"), F.col(f"_o_{k}").alias("v")) for k in features.one_hot]
    )
    counts = train.select(F.inline(pairs)).where("v is not null").groupBy("f", "v").count()
    rank = F.row_number().over(Window.partitionBy("f").orderBy(F.desc("count"), "v"))
    limit = F.create_map(*[F.lit(x) for k, f in features.one_hot.items() for x in (k, f.values)])
    # Small by nature: at most the configured number of values per feature.
    kept = counts.withColumn("rank", rank).where(F.col("rank") <= limit[F.col("f")]).collect()
    return {
        name: tuple(sorted(row["v"] for row in kept if row["f"] == name))
        for name in features.one_hot
    }


def _grain(history: History) -> Column:
    return F.floor(F.unix_seconds("event_time") / history.grain).cast("long")


def _finite(value: Column) -> Column:
    number = value.cast("double")
    return F.when(F.abs(number) < F.lit(math.inf), number)


def _hashed(field: Categorical) -> Column:
    value = F.expr(field.value).cast("string")
    hashed = F.pmod(F.xxhash64(value), F.lit(field.buckets - 1)) + 1
    return F.when(value.isNull(), F.lit(0)).otherwise(hashed).cast("int")


def _scaled(column: str, mean: float, scale: float) -> Column:
    return F.coalesce((F.col(column) - mean) / scale, F.lit(0.0))


def _waves(part: str) -> tuple[Column, Column]:
    angle = F.expr(_PERIODS[part]) * (2 * math.pi)
    return F.sin(angle), F.cos(angle)


def _short(window: int | str) -> str:
    if isinstance(window, str):
        return window
    return f"{window // 86400}d" if window % 86400 == 0 else f"{window // 3600}h"
