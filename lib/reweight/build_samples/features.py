"""Samples -> numbers: declared columns, times, and aggregates of earlier events.

A history feature of a sample counts events in whole grains of time (hours or days) that ended
before the sample's own grain began. So it uses nothing from the sample's own grain or later, and a
key with a billion events is reduced to one row per grain before any task has to hold it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from reweight.build_samples.hashed_ids import Categorical
from reweight.build_samples.history import History, short
from reweight.build_samples.sequence import EventSequence
from reweight.build_samples.texts import EncodedText, check_similarity
from reweight.core.section import Name, Section, Sql, repeated
from reweight.core.sequences import SequenceShape


class OneHot(Section):
    """A column with few values, one dense feature each.

    Attributes:
        value: expression.
        values: number of values that get a feature, the most frequent ones of the training split;
            all other values are encoded as zeros.
    """

    value: Sql
    values: int = Field(default=20, ge=1, le=1000)


class Features(Section):
    """The section ``features``.

    Attributes:
        numeric: name -> expression over the sample's columns; standardised, with an indicator for
            missing values (null, NaN, infinite).
        cyclic: parts of the sample's time, each as sine and cosine.
        one_hot: columns with few values.
        history: point-in-time aggregates of earlier events.
        text: texts, as vectors of an encoder.
        similarity: name -> two names out of ``text``; the cosine of their vectors, standardised,
            with an indicator for a missing text. Both have one encoder and dim.
        categorical: columns with many values, as hashed ``ids``.
        sequence: the last events before the sample, for networks that read their order
            (``network: cnn`` or ``gru``); the ranker does not see them.
        dim: length of the dense vector, which is padded with zeros; too small a value is refused.
            None for the number of declared features.
    """

    numeric: dict[Name, Sql] = {}
    cyclic: tuple[Literal["hour_of_day", "day_of_week", "day_of_year"], ...] = ()
    one_hot: dict[Name, OneHot] = {}
    history: dict[Name, History] = {}
    text: dict[Name, EncodedText] = {}
    similarity: dict[Name, tuple[Name, Name]] = {}
    categorical: dict[Name, Categorical] = {}
    sequence: EventSequence | None = None
    dim: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _names_differ(self) -> "Features":
        names = feature_names(self, {})
        declared = [n.name for n in numeric_features(self)]
        groups: tuple[Iterable[str], ...] = (
            *(declared, self.one_hot, self.text, self.categorical, names),
        )
        if duplicates := next(filter(None, map(repeated, groups)), None):
            raise ValueError(
                "expected different names for the features (Spark ignores case), "
                f"got twice: {duplicates}"
            )
        if taken := [n for n in names if n.lower() == "label" or is_padding(n)]:
            raise ValueError(f"features {taken}: these names are reserved; choose others")
        return self

    @model_validator(mode="after")
    def _texts_compare(self) -> "Features":
        check_similarity(self.text, self.similarity)
        return self

    @property
    def sequence_shape(self) -> SequenceShape | None:
        """The shape of the sequences; None if there are none."""
        return None if self.sequence is None else self.sequence.shape(self.categorical)


@dataclass(frozen=True)
class NumericFeature:
    """A numeric feature: its name, and that of the indicator of its missing values, if any.

    Attributes:
        name: its name.
        missing: the name of the indicator; None if it is never missing.
        log: whether the feature is log(1 + x) of a count or an age.
    """

    name: str
    missing: str | None
    log: bool = False


PERIODS = {
    "hour_of_day": "unix_seconds(event_time) % 86400 / 86400",
    "day_of_week": "(unix_seconds(event_time) / 86400) % 7 / 7",
    "day_of_year": "dayofyear(event_time) / 366",
}


def feature_names(features: Features, vocabulary: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Names of the dense features, in the order of the vector."""
    numbers = list(numeric_features(features))
    return (
        *[n.name for n in numbers],
        *[n.missing for n in numbers if n.missing],
        *[f"{part}_{wave}" for part in features.cyclic for wave in ("sin", "cos")],
        *[f"{name}={value}" for name in features.one_hot for value in vocabulary.get(name, ())],
    )


def is_padding(name: str) -> bool:
    """Whether a name is that of a zero that pads the vector to ``dim``."""
    return re.fullmatch(r"padding_\d+", name) is not None


def numeric_features(features: Features) -> Iterator[NumericFeature]:
    """The features that are standardised: those of the histories, then those of the sample."""
    yield from history_features(features)
    yield from own_features(features)


def history_features(features: Features) -> Iterator[NumericFeature]:
    """The numeric features that earlier events give."""
    for name, history in features.history.items():
        for window in history.windows:
            for count in history.counts:
                yield NumericFeature(f"{name}_{count}_{short(window)}", None, log=True)
            for rate in history.rates:
                yield _optional(f"{name}_{rate}_{short(window)}")
        for count in history.recency:
            yield _optional(f"{name}_{count}_age", log=True)


def own_features(features: Features) -> Iterator[NumericFeature]:
    """The numeric features of the sample itself: numbers, similarities, texts."""
    for name in (*features.numeric, *features.similarity):
        yield _optional(name)
    for name, text in features.text.items():
        if text.in_features:
            # Its numbers are missing together: one indicator for all.
            yield NumericFeature(f"{name}_0", f"{name}_missing")
            yield from (NumericFeature(f"{name}_{i}", None) for i in range(1, text.dim))


def _optional(name: str, log: bool = False) -> NumericFeature:
    return NumericFeature(name, f"{name}_missing", log)
