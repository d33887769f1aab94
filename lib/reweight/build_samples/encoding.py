"""Raw features -> encoded features, by the statistics of the training split."""

import math
from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.embeddings import Embeddings
from reweight.build_samples.feature_stats import FAR, FeatureStats
from reweight.build_samples.features import (
    PERIODS,
    Features,
    feature_names,
    history_features,
    numeric_features,
)
from reweight.build_samples.hashed_ids import hashed
from reweight.build_samples.history import known_before, with_history
from reweight.build_samples.sequence import latest_before, with_sequence, without_sequence
from reweight.build_samples.texts import identities
from reweight.core.columns import finite, literals
from reweight.core.errors import SampleError, SourceError
from reweight.core.expressions import CONDITION, KEY, cast_to, check_expressions


def with_features(samples: DataFrame, features: Features, stats: FeatureStats) -> DataFrame:
    """Adds ``features`` array<float>[D], in the order of ``stats.names``.

    Args:
        samples: output of ``with_raw_features``.
        features: the section.
        stats: statistics of this run's training split, or of the run whose models are used.

    Raises:
        SampleError: the statistics belong to other features.
    """
    check_stats(features, stats)
    names = feature_names(features, stats.vocabulary)
    numbers = list(numeric_features(features))
    optional = [index for index, n in enumerate(numbers) if n.missing]
    parts = [
        scaled(F.col("_numbers"), [stats.scaling[n.name] for n in numbers]),
        F.transform(literals(optional, "int"), lambda index: F.get("_numbers", index).isNull()),
        F.array(*[wave for part in features.cyclic for wave in _waves(part)]),
        *[
            F.transform(
                literals(stats.vocabulary[name], "string"),
                F.get("_values", F.lit(index)).eqNullSafe,
            )
            for index, name in enumerate(features.one_hot)
        ],
        F.array_repeat(F.lit(0.0), len(stats.names) - len(names)),
    ]
    return samples.withColumn("features", F.concat(*[p.cast("array<float>") for p in parts]))


def check_stats(features: Features, stats: FeatureStats) -> None:
    """Checks that statistics are of the features of a config.

    Raises:
        SampleError: they are of others.
    """
    names = feature_names(features, stats.vocabulary)
    # In order: ids have no names in a row.
    ids = [(k, f.buckets) for k, f in features.categorical.items()]
    declared = (names, ids, features.sequence_shape)
    stored = (stats.declared, [*stats.cardinalities.items()], stats.sequence)
    if declared != stored or set(features.one_hot) != set(stats.vocabulary):
        differ = sorted({*names} ^ {*stats.declared})
        raise SampleError(
            "the stored statistics belong to other features",
            expected="the section `features` of the run whose models are used",
            got=f"not in both: {differ}"
            if differ
            else "another order, or other ids"
            if stats.sequence == features.sequence_shape
            else "another sequence",
            fix="copy the section from the config of the run that `model_run_id` or `warm_start` "
            "names",
        )
    if (texts := identities(features.text)) != stats.texts:
        differ = sorted(k for k in {*texts, *stats.texts} if texts.get(k) != stats.texts.get(k))
        raise SampleError(
            f"the stored statistics belong to other encoders of the text(s) {differ}",
            expected=str({k: stats.texts.get(k) for k in differ}),
            got=str({k: texts.get(k) for k in differ}),
            fix="install the package in the version of the run that `model_run_id` names, with the "
            "same features.text; or fit new models without `model_run_id`",
        )


def scaled(numbers: Column, scaling: Sequence[tuple[float, float]]) -> Column:
    """An array of numbers minus their means, divided by their scales; 0 for nulls.

    Args:
        numbers: array<double>.
        scaling: (mean, scale) of each element.
    """
    means, deviations = (literals([s[i] for s in scaling], "double") for i in (0, 1))

    def standardised(x: Column, index: Column) -> Column:
        z = (x - F.get(means, index)) / F.get(deviations, index)
        return F.when(x.isNotNull(), F.greatest(F.least(z, F.lit(FAR)), F.lit(-FAR))).otherwise(0)

    return F.transform(numbers, standardised)


def _waves(part: str) -> tuple[Column, Column]:
    angle = F.expr(PERIODS[part]) * (2 * math.pi)
    return F.sin(angle), F.cos(angle)


def check_features(samples: DataFrame, events: DataFrame, features: Features) -> None:
    """Checks every expression of the section against the samples and the events.

    Raises:
        SourceError: some expressions do not fit; the error lists them all.
    """
    numeric = {f"numeric.{k}": v for k, v in features.numeric.items()}
    values = {f"one_hot.{k}": f.value for k, f in features.one_hot.items()}
    values |= {f"categorical.{k}": f.value for k, f in features.categorical.items()}
    keys: dict[str, str] = {}
    conditions: dict[str, str] = {}
    fields: dict[str, str] = {}
    for name, history in features.history.items():
        keys |= {f"history.{name}.keys.{k}": k for k in history.keys}
        conditions |= {f"history.{name}.counts.{k}": v for k, v in history.counts.items()}
    if (sequence := features.sequence) is not None:
        keys |= {f"sequence.keys.{k}": k for k in sequence.keys}
        conditions["sequence.where"] = sequence.where
        fields = {f"sequence.fields.{k}": f.value for k, f in sequence.fields.items()}
    texts = {f"text.{name}.value": text.value for name, text in features.text.items()}
    used_as = dict.fromkeys(numeric, cast_to("double")) | dict.fromkeys(keys, KEY)
    used_as |= dict.fromkeys(conditions, CONDITION)
    check_expressions(samples, numeric | values | keys | texts, used_as=used_as)
    _check_texts(samples, texts)
    check_expressions(events, keys | conditions | fields, used_as=used_as)


def _check_texts(samples: DataFrame, texts: Mapping[str, str]) -> None:
    for key, sql in texts.items():
        kind = samples.select(F.expr(sql)).schema[0].dataType.simpleString()
        if kind != "string":
            raise SourceError(
                f"features.{key} is not a text",
                expected="an expression of type string",
                got=f"{sql}: {kind}",
                fix=f"write value: cast({sql} AS string); or declare a number as features.numeric "
                "and an id as features.categorical",
            )


def with_raw_features(
    samples: DataFrame,
    events: DataFrame,
    features: Features,
    embeddings: Embeddings | None = None,
    earlier: Mapping[str, DataFrame] | None = None,
) -> DataFrame:
    """Adds the features as they are before encoding.

    They are arrays, ``_numbers`` array<double> (in the order of ``numeric_features``), ``_values``
    array<string>, ``ids`` array<int> and those of the sequence: a plan with a column or an
    aggregate for each of 2,000 features takes minutes to compile.

    Args:
        samples: the samples, without features.
        events: the events that histories count.
        features: the section.
        embeddings: the vectors of ``features.text``; needed if there are any.
        earlier: history -> counts of events before ``events``; see ``known_before``.
    """
    joined = samples
    for name, history in features.history.items():
        history_rows = known_before(samples, events, name, history, (earlier or {}).get(name))
        joined = with_history(joined, history_rows, history)
    if (sequence := features.sequence) is None:
        joined = without_sequence(joined)
    else:
        joined = with_sequence(joined, latest_before(samples, events, sequence), sequence)
    numbers = list(history_features(features))
    # A sample with a null key has no history: its counts are 0, and all else is missing.
    past = [
        F.col(f"_n_{n.name}") if n.missing else F.coalesce(f"_n_{n.name}", F.lit(0.0))
        for n in numbers
    ]
    declared = [F.expr(sql).cast("double") for sql in features.numeric.values()]
    values = [F.expr(f.value).cast("string") for f in features.one_hot.values()]
    ids = [hashed(f) for f in features.categorical.values()]
    if embeddings is not None:
        joined = embeddings.joined(joined)
        declared += [embeddings.cosine(*pair) for pair in features.similarity.values()]
    numeric_values = F.transform(F.array(*past, *declared).cast("array<double>"), finite)
    if embeddings is not None:
        numeric_values = F.concat(numeric_values, *embeddings.numbers())
    return joined.withColumns(
        {
            "_numbers": numeric_values,
            "_values": F.array(*values).cast("array<string>"),
            "ids": F.array(*ids).cast("array<int>"),
        }
    ).drop(*[f"_n_{n.name}" for n in numbers], *(embeddings.columns if embeddings else ()))
