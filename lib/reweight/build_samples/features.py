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
    categorical: dict[Name, Categorical] = {}
    sequence: EventSequence | None = None
    dim: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _names_differ(self) -> "Features":
        names = feature_names(self, {})
        declared = [n.name for n in numeric_features(self)]
        groups: tuple[Iterable[str], ...] = (declared, self.one_hot, self.categorical, names)
        if duplicates := next(filter(None, map(repeated, groups)), None):
            raise ValueError(
                "expected different names for the features (Spark ignores case), "
                f"got twice: {duplicates}"
            )
        if taken := [n for n in names if n.lower() == "label" or re.fullmatch(r"padding_\d+", n)]:
            raise ValueError(f"features {taken}: these names are reserved; choose others")
        return self

    @property
    def sequence_shape(self) -> SequenceShape | None:
        """The shape of the sequences; None if there are none."""
        return self.sequence and self.sequence.shape(self.categorical)


@dataclass(frozen=True)
class NumericFeature:
    """A numeric feature: its name, and whether it can be missing."""

    name: str
    optional: bool


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
        *[f"{n.name}_missing" for n in numbers if n.optional],
        *[f"{part}_{wave}" for part in features.cyclic for wave in ("sin", "cos")],
        *[f"{name}={value}" for name in features.one_hot for value in vocabulary.get(name, ())],
    )


def numeric_features(features: Features) -> Iterator[NumericFeature]:
    """The features that are standardised: those of the histories, then the declared ones."""
    for name, history in features.history.items():
        for window in history.windows:
            for count in history.counts:
                yield NumericFeature(f"{name}_{count}_{short(window)}", optional=False)
            for rate in history.rates:
                yield NumericFeature(f"{name}_{rate}_{short(window)}", optional=True)
        for count in history.recency:
            yield NumericFeature(f"{name}_{count}_age", optional=True)
    for name in features.numeric:
        yield NumericFeature(name, optional=True)
