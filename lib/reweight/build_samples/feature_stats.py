"""Statistics of the features: means, scales and vocabularies of the training split."""

from pathlib import Path

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from reweight.build_samples.features import Features, feature_names, is_padding, numeric_features
from reweight.build_samples.texts import identities
from reweight.core.columns import literals
from reweight.core.errors import SampleError, TableError
from reweight.core.hashing import uniform
from reweight.core.section import Section
from reweight.core.sequences import SequenceShape

# Quantiles of this many rows are accurate enough: their error is about 1 / sqrt(rows).
_QUANTILE_ROWS = 20_000


class FeatureStats(Section):
    """Statistics of the training split; enough to encode the rows of a later day.

    Attributes:
        names: names of the dense features, length D.
        scaling: numeric feature -> (mean, scale).
        vocabulary: one-hot feature -> its values.
        cardinalities: categorical field -> size of its id space.
        texts: text -> its encoder, with version and dim.
        sequence: shape of the sequences; None if there are none.
    """

    names: tuple[str, ...]
    scaling: dict[str, tuple[float, float]]
    vocabulary: dict[str, tuple[str, ...]]
    cardinalities: dict[str, int]
    texts: dict[str, str] = {}
    sequence: SequenceShape | None = None

    @property
    def declared(self) -> tuple[str, ...]:
        """The names without those of the padding."""
        return tuple(name for name in self.names if not is_padding(name))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the id spaces, in the order of the fields."""
        return tuple(self.cardinalities.values())


# No row of n is more than sqrt(n) deviations from the mean: training rows are never clipped.
FAR = 1e6


def fit_features(train: DataFrame, features: Features) -> FeatureStats:
    """Fits means, scales and vocabularies to the training split.

    Args:
        train: training rows, as ``with_raw_features`` returns them.
        features: the section.

    Raises:
        SampleError: a feature has no values, or the vector does not fit into ``dim``.
    """
    scaling, vocabulary = _scaling(train, features), _vocabulary(train, features)
    if empty := [n for n, stats in (*scaling.items(), *vocabulary.items()) if not stats]:
        raise SampleError(
            f"the feature(s) {empty} have no value in the training split",
            expected="at least one value that is not null, NaN or infinite",
            got="none",
            fix="check the expression, or remove the feature",
        )
    names = feature_names(features, vocabulary)
    dim = features.dim or len(names)
    if len(names) > dim or not names:
        raise SampleError(
            "the features do not fit into features.dim" if names else "no feature is declared",
            expected=f"1 to {dim} features" if names else "at least one dense feature",
            got=f"{len(names)}; beyond the limit: {list(names[dim:])}",
            fix="raise features.dim, remove it, or declare other features",
        )
    padding = [f"padding_{i}" for i in range(len(names), dim)]
    return FeatureStats(
        names=(*names, *padding),
        scaling=scaling,
        vocabulary=vocabulary,
        cardinalities={k: f.buckets for k, f in features.categorical.items()},
        texts=identities(features.text),
        sequence=features.sequence_shape,
    )


def feature_quantiles(train: DataFrame, rows: int, bins: int) -> tuple[tuple[float, ...], ...]:
    """Quantiles 0, 1/bins, ..., 1 of every feature, exact on a hashed sample of the rows.

    Args:
        train: training rows with ``sample_id`` and ``features``.
        rows: number of training rows.
        bins: number of bins into which the quantiles cut a feature.
    """
    drawn = train.where(uniform(0, "quantiles", "sample_id") <= _QUANTILE_ROWS / max(rows, 1))
    shares = [i / bins for i in range(bins + 1)]
    cuts = F.expr(f"percentile(value, array({', '.join(map(str, shares))}))")
    # Small: a few numbers per feature.
    quantiles = (
        drawn.select(F.posexplode("features").alias("index", "value"))
        .groupBy("index")
        .agg(cuts.alias("cuts"))
        .orderBy("index")
        .collect()
    )
    return tuple(tuple(row["cuts"]) for row in quantiles)


def _scaling(train: DataFrame, features: Features) -> dict[str, tuple[float, ...]]:
    """Mean and scale of each numeric feature; empty for one without values."""
    scales_by_index = scales(train, "_numbers")
    return {
        n.name: scales_by_index.get(index, ()) for index, n in enumerate(numeric_features(features))
    }


def scales(train: DataFrame, numbers: str) -> dict[int, tuple[float, float]]:
    """Mean and scale of each element of an array, by index; elements without values are left out.

    They do not depend on how the rows are partitioned.

    Args:
        train: training rows.
        numbers: name of the column with the arrays.
    """
    x = F.col("x")
    rows = train.select(F.posexplode(numbers).alias("index", "x")).where(x.isNotNull())
    # Small: one row per feature.
    moments = rows.groupBy("index").agg(F.avg(x), F.stddev_pop(x), F.min(x)).collect()
    return {row[0]: _rounded(*row[1:]) for row in moments}


def _rounded(mean: float, deviation: float, low: float) -> tuple[float, float]:
    """Mean and scale, to a millionth of the scale: further digits depend on the summation order."""
    if deviation <= 1e-12 * max(abs(mean), 1e-12):
        # A constant has no scale: it becomes 0, and later deviations keep their own unit.
        return low, 1.0
    scale = float(f"{deviation:.7g}")
    return round(mean / scale * 1e6) * scale / 1e6, scale


def _vocabulary(train: DataFrame, features: Features) -> dict[str, tuple[str, ...]]:
    if not features.one_hot:
        return {}
    limits = [f.values for f in features.one_hot.values()]
    values = train.select(F.posexplode("_values").alias("index", "value")).where(
        "value is not null"
    )
    counts = values.groupBy("index", "value").count()
    rank = F.row_number().over(Window.partitionBy("index").orderBy(F.desc("count"), "value"))
    # The first condition is a constant, so that each task can drop rows before sorting.
    frequent = (F.col("rank") <= max(limits)) & (
        F.col("rank") <= F.get(literals(limits, "int"), F.col("index"))
    )
    # Small: at most the configured number of values per feature.
    chosen = counts.withColumn("rank", rank).where(frequent).collect()
    return {
        name: tuple(sorted(row["value"] for row in chosen if row["index"] == index))
        for index, name in enumerate(features.one_hot)
    }


def read_stats(path: Path) -> FeatureStats:
    """Reads the statistics with which samples are encoded: those of a run, or of a model.

    Raises:
        TableError: the file does not exist.
    """
    if not path.is_file():
        raise TableError(
            "the statistics of the features do not exist",
            expected=str(path),
            got="no such file",
            fix="run the stage 'build_samples' first, and 'fit_importance' if a model lacks them, "
            "or check root, model_run_id and warm_start",
        )
    return FeatureStats.model_validate_json(path.read_text())
