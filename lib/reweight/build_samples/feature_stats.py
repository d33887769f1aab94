"""TODO docstring."""

from pathlib import Path

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from reweight.build_samples.features import Features, feature_names, numeric_features
from reweight.core.columns import literals
from reweight.core.errors import SampleError, TableError
from reweight.core.hashing import uniform
from reweight.core.section import Section

# Quantiles of so many rows are as good as those of all: the error is about 1 / sqrt(rows).
_QUANTILE_ROWS = 20_000


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

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the id spaces, in the order of the fields."""
        return tuple(self.cardinalities.values())


# No row of n is more than sqrt(n) deviations from the mean, so only rows outside training are cut.
FAR = 1e6


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
            got="none",
            fix="check the expression, or leave the feature out",
        )
    names = feature_names(features, vocabulary)
    dim = features.dim or len(names)
    if len(names) > dim or not names:
        raise SampleError(
            "the features do not fit into features.dim" if names else "no feature is declared",
            expected=f"1 to {dim} features" if names else "at least one dense feature",
            got=f"{len(names)}; beyond the limit: {list(names[dim:])}",
            fix="raise features.dim, leave it out, or declare other features",
        )
    padding = [f"padding_{i}" for i in range(len(names), dim)]
    return FeatureStats(
        names=(*names, *padding),
        scaling=scaling,
        vocabulary=vocabulary,
        cardinalities={k: f.buckets for k, f in features.categorical.items()},
    )


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


def _scaling(train: DataFrame, features: Features) -> dict[str, tuple[float, ...]]:
    """Mean and scale of each number; nothing for one without a value."""
    known = scales(train, "_numbers")
    return {n.name: known.get(place, ()) for place, n in enumerate(numeric_features(features))}


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
        F.col("rank") <= F.get(literals(limits, "int"), F.col("place"))
    )
    # Small by nature: at most the configured number of values per feature.
    kept = counts.withColumn("rank", rank).where(few).collect()
    return {
        name: tuple(sorted(row["value"] for row in kept if row["place"] == place))
        for place, name in enumerate(features.one_hot)
    }


def read_stats(path: Path) -> FeatureStats:
    """The statistics by which samples are encoded: a run's, or those that a model was fitted on.

    Raises:
        TableError: there are none.
    """
    if not path.is_file():
        raise TableError(
            "the statistics of the features are not there",
            expected=str(path),
            got="no such file",
            fix="run the stage 'build_samples' first, and 'fit_importance' if it is a model that "
            "lacks them, or check root and model_run_id",
        )
    return FeatureStats.model_validate_json(path.read_text())
