"""Samples -> numbers: declared columns, times, and aggregates of what happened before.

A history feature of a sample counts events in whole grains of time (hours or days) that ended
before the sample's own grain began. So it uses nothing of the sample's own time or later, and a key
with a billion events is a row per grain before any task has to hold it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

from pydantic import Field, model_validator
from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from reweight.errors import SampleError
from reweight.expressions import check_expressions
from reweight.hashing import uniform
from reweight.section import Name, Seconds, Section, Sql

# Quantiles of so many rows are as good as those of all: the error is about 1 / sqrt(rows).
_QUANTILE_ROWS = 20_000


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
        if cut := [w for w in self.windows if w != "all" and (w < self.grain or w % self.grain)]:
            raise ValueError(f"expected windows of whole grains ({self.grain} s); came {cut}")
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

    @model_validator(mode="after")
    def _names_differ(self) -> "Features":
        names = [n.name for n in _numbers(self)]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"expected a name of its own for each feature; came twice: {twice}")
        return self


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


# Numbers of a float32; beyond them a value is as good as infinite.
_LARGEST = 3.4e38

# No row of n is more than sqrt(n) deviations from the mean, so only rows outside training are cut.
_FAR = 1e6


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
    """Adds the features before any statistic.

    They are arrays, ``_numbers`` array<double>, ``_values`` array<string> and ``ids`` array<int>:
    a plan with a column or an aggregate for each of 2,000 features takes minutes to compile.
    """
    joined = samples
    for name, history in features.history.items():
        joined = _with_history(joined, _known(samples, events, name, history), history)
    numbers = [n for n in _numbers(features) if n.name not in features.numeric]
    # A sample whose key is null has no history: nothing counted, nothing known.
    past = [
        F.col(f"_n_{n.name}") if n.optional else F.coalesce(f"_n_{n.name}", F.lit(0.0))
        for n in numbers
    ]
    own = [F.expr(sql).cast("double") for sql in features.numeric.values()]
    values = [F.expr(f.value).cast("string") for f in features.one_hot.values()]
    ids = [_hashed(f) for f in features.categorical.values()]
    return joined.withColumns(
        {
            "_numbers": F.transform(F.array(*past, *own).cast("array<double>"), _finite),
            "_values": F.array(*values).cast("array<string>"),
            "ids": F.array(*ids).cast("array<int>"),
        }
    ).drop(*[f"_n_{n.name}" for n in numbers])


def fit_features(train: DataFrame, features: Features) -> FeatureStats:
    """Means, scales and vocabularies of the training split.

    Args:
        train: training rows of ``with_raw_features``.
        features: the section.

    Raises:
        SampleError: a feature has no value at all, or the vector does not fit into ``dim``.
    """
    scaling, vocabulary = _scaling(train, features), _vocabulary(train, features)
    if empty := [name for name, found in {**scaling, **vocabulary}.items() if not found]:
        raise SampleError(
            f"the feature(s) {empty} have no value in the training split",
            expected="at least one row that is not null, NaN or infinite",
            came="none",
            do="check the expression, or leave the feature out",
        )
    names = _names(features, vocabulary)
    dim = features.dim or len(names)
    if len(names) > dim or not names:
        raise SampleError(
            "the features do not fit into features.dim" if names else "no feature is declared",
            expected=f"1 to {dim} features" if names else "at least one dense feature",
            came=f"{len(names)}; beyond the limit: {list(names[dim:])}",
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
    """Adds ``features`` array<float>[D], in the order of ``stats.names``.

    Args:
        samples: of ``with_raw_features``.
        features: the section.
        stats: of this run's training split, or of the run whose models are used.

    Raises:
        SampleError: the statistics are of other features.
    """
    names = _names(features, stats.vocabulary)
    _check_stats(features, stats, names)
    numbers = list(_numbers(features))
    optional = [place for place, n in enumerate(numbers) if n.optional]
    parts = [
        scaled(F.col("_numbers"), [stats.scaling[n.name] for n in numbers]),
        F.transform(_literals(optional, "int"), lambda place: F.get("_numbers", place).isNull()),
        F.array(*[wave for part in features.cyclic for wave in _waves(part)]),
        *[
            F.transform(
                _literals(stats.vocabulary[name], "string"),
                F.get("_values", F.lit(place)).eqNullSafe,
            )
            for place, name in enumerate(features.one_hot)
        ],
        F.array_repeat(F.lit(0.0), len(stats.names) - len(names)),
    ]
    return samples.withColumn("features", F.concat(*[p.cast("array<float>") for p in parts]))


def feature_quantiles(train: DataFrame, rows: int, bins: int) -> tuple[tuple[float, ...], ...]:
    """Quantiles 0, 1/bins, ..., 1 of every feature, exact on a hashed sample of the rows.

    Args:
        train: training rows with ``sample_id`` and ``features``.
        rows: how many there are.
        bins: how many pieces the quantiles cut a feature into.
    """
    some = train.where(uniform(0, "quantiles", "sample_id") <= _QUANTILE_ROWS / max(rows, 1))
    places = [i / bins for i in range(bins + 1)]
    cuts = F.expr(f"percentile(value, array({', '.join(map(str, places))}))")
    # Small by nature: a few numbers per feature.
    found = (
        some.select(F.posexplode("features").alias("place", "value"))
        .groupBy("place")
        .agg(cuts.alias("cuts"))
        .orderBy("place")
        .collect()
    )
    return tuple(tuple(row["cuts"]) for row in found)


def _check_stats(features: Features, stats: FeatureStats, names: tuple[str, ...]) -> None:
    declared = (names, {k: f.buckets for k, f in features.categorical.items()})
    stored = (stats.names[: len(names)], stats.cardinalities)
    if declared != stored or set(features.one_hot) != set(stats.vocabulary):
        differ = sorted({*names} ^ {n for n in stats.names if not n.startswith("padding_")})
        raise SampleError(
            "the stored statistics are of other features",
            expected="the section `features` of the run whose models are used",
            came=f"not in both: {differ}" if differ else "another order, or other categorical ids",
            do="copy the section from the config of that run (`model_run_id`)",
        )


def _names(features: Features, vocabulary: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    numbers = list(_numbers(features))
    return (
        *[n.name for n in numbers],
        *[f"{n.name}_missing" for n in numbers if n.optional],
        *[f"{part}_{wave}" for part in features.cyclic for wave in ("sin", "cos")],
        *[f"{name}={value}" for name in features.one_hot for value in vocabulary.get(name, ())],
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


def _known(samples: DataFrame, events: DataFrame, name: str, history: History) -> DataFrame:
    """A row per key and grain of the samples: the features of what happened before."""
    past = _past(samples, events, history)
    keyed = Window.partitionBy(*history.keys).orderBy("_grain")
    columns: dict[str, Column] = {}
    before = keyed.rangeBetween(Window.unboundedPreceding, -1)
    for window in history.windows:
        # What came before a window is taken off what came before the sample: both frames grow by
        # a row at a time, where a sliding one would be added up anew for every row.
        gone = None
        if window != "all":
            older = -(window // history.grain) - 1
            gone = keyed.rangeBetween(Window.unboundedPreceding, older)
        columns |= _windowed(name, history, _short(window), before, gone)
    now = F.col("_grain") * history.grain
    for count in history.recency:
        age = now - F.max(f"_last_{count}").over(before)
        columns[f"_n_{name}_{count}_age"] = F.log1p(age / 86400)
    return past.withColumns(columns).where("_wanted").select(*history.keys, "_grain", *columns)


def _with_history(samples: DataFrame, known: DataFrame, history: History) -> DataFrame:
    keys = [*history.keys, "_grain"]
    joined = samples.withColumn("_grain", _grain(history)).join(known, on=keys, how="left")
    return joined.drop("_grain")


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


def _windowed(
    name: str, history: History, short: str, before: WindowSpec, gone: WindowSpec | None
) -> dict[str, Column]:
    def total(count: str, over: WindowSpec) -> Column:
        return F.coalesce(F.sum(f"_count_{count}").over(over), F.lit(0))

    sums = {
        n: total(n, before) - total(n, gone) if gone else total(n, before) for n in history.counts
    }
    counts = {f"_n_{name}_{n}_{short}": F.log1p(sums[n]) for n in history.counts}
    rates = {
        f"_n_{name}_{rate}_{short}": F.when(sums[below] > 0, sums[above] / sums[below])
        for rate, (above, below) in history.rates.items()
    }
    return counts | rates


def _scaling(train: DataFrame, features: Features) -> dict[str, tuple[float, ...]]:
    """Mean and scale of each number; nothing for one without a value."""
    known = scales(train, "_numbers")
    return {n.name: known.get(place, ()) for place, n in enumerate(_numbers(features))}


def scales(train: DataFrame, numbers: str) -> dict[int, tuple[float, float]]:
    """Mean and scale of each place of an array that has a value, the same for any partitioning.

    Args:
        train: training rows.
        numbers: name of the column of arrays.
    """
    x = F.col("x")
    rows = train.select(F.posexplode(numbers).alias("place", "x")).where(x.isNotNull())
    # Small by nature: one row per feature.
    found = rows.groupBy("place").agg(F.avg(x), F.stddev_pop(x), F.min(x)).collect()
    return {row[0]: _rounded(*row[1:]) for row in found}


def _rounded(mean: float, deviation: float, low: float) -> tuple[float, float]:
    """Mean and scale, to a millionth of the scale: the order of a sum shows in digits beyond."""
    if deviation <= 1e-12 * max(abs(mean), 1e-12):
        # A constant has no scale: it becomes 0, and a later change shows in its own unit.
        return low, 1.0
    scale = float(f"{deviation:.7g}")
    return round(mean / scale * 1e6) * scale / 1e6, scale


def _vocabulary(train: DataFrame, features: Features) -> dict[str, tuple[str, ...]]:
    if not features.one_hot:
        return {}
    limits = [f.values for f in features.one_hot.values()]
    values = train.select(F.posexplode("_values").alias("place", "value")).where(
        "value is not null"
    )
    counts = values.groupBy("place", "value").count()
    rank = F.row_number().over(Window.partitionBy("place").orderBy(F.desc("count"), "value"))
    # The first condition is a plain number, so that each task drops what is beyond before sorting.
    few = (F.col("rank") <= max(limits)) & (
        F.col("rank") <= F.get(_literals(limits, "int"), F.col("place"))
    )
    # Small by nature: at most the configured number of values per feature.
    kept = counts.withColumn("rank", rank).where(few).collect()
    return {
        name: tuple(sorted(row["value"] for row in kept if row["place"] == place))
        for place, name in enumerate(features.one_hot)
    }


def _grain(history: History) -> Column:
    return F.floor(F.unix_seconds("event_time") / history.grain).cast("long")


def _finite(number: Column) -> Column:
    return F.when(F.abs(number) < _LARGEST, number)


def _hashed(field: Categorical) -> Column:
    value = F.expr(field.value).cast("string")
    hashed = F.pmod(F.xxhash64(value), F.lit(field.buckets - 1)) + 1
    return F.when(value.isNull(), F.lit(0)).otherwise(hashed).cast("int")


def scaled(numbers: Column, scaling: Sequence[tuple[float, float]]) -> Column:
    """An array of numbers less their means, over their scales; 0 for what is null.

    Args:
        numbers: array<double>.
        scaling: mean and scale of each place.
    """
    means, deviations = (_literals([s[i] for s in scaling], "double") for i in (0, 1))

    def one(x: Column, place: Column) -> Column:
        z = (x - F.get(means, place)) / F.get(deviations, place)
        return F.when(x.isNotNull(), F.greatest(F.least(z, F.lit(_FAR)), F.lit(-_FAR))).otherwise(0)

    return F.transform(numbers, one)


def _waves(part: str) -> tuple[Column, Column]:
    angle = F.expr(_PERIODS[part]) * (2 * math.pi)
    return F.sin(angle), F.cos(angle)


def _literals(values: Sequence[int | float | str], kind: str) -> Column:
    return F.array(*[F.lit(v) for v in values]).cast(f"array<{kind}>")


def _short(window: int | str) -> str:
    if isinstance(window, str):
        return window
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return next(f"{window // size}{u}" for u, size in units.items() if window % size == 0)
