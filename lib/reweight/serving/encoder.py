"""A row of features by name -> the numbers that the program reads, as ``build_samples`` encodes."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from reweight.core.errors import ServingError
from reweight.serving.manifest import Manifest, Numeric
from reweight.serving.values import number, wrong
from reweight.serving.xxhash64 import xxhash64

# As in `build_samples`: values further out are treated alike, and larger ones as infinite.
_FAR, _LARGEST = 1e6, 3.4e38
# Seconds of the years 1 to 9999, which Spark has; milliseconds since 1978 are beyond.
_FIRST, _LAST = -62_135_596_800, 253_402_300_800
# Digits of the largest whole number that Spark has.
_DIGITS = 38

_PARTS: Mapping[str, Callable[[int], float]] = {
    "hour_of_day": lambda seconds: seconds % 86400 / 86400,
    "day_of_week": lambda seconds: (seconds / 86400) % 7 / 7,
    "day_of_year": lambda seconds: datetime.fromtimestamp(seconds, UTC).timetuple().tm_yday / 366,
}


class Encoder:
    """Encodes rows.

    A feature goes by its name in the config; a name that two of ``numeric``, ``one_hot`` and
    ``categorical`` have goes by both, such as ``one_hot.item``.

    Args:
        manifest: the statistics of the features.

    Attributes:
        names: what a row has to have.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._dim, self._fields = manifest.dim, len(manifest.categorical)
        sections = {
            "numeric": [n.name for n in manifest.numeric],
            "cyclic": ["event_time"] if manifest.cyclic else [],
            "one_hot": list(manifest.one_hot),
            "categorical": list(manifest.categorical),
        }
        counts: dict[str, int] = {}
        for name in (name for names in sections.values() for name in names):
            counts[name] = counts.get(name, 0) + 1

        def key(section: str, name: str) -> str:
            return name if counts[name] == 1 else f"{section}.{name}"

        self.names = tuple(key(s, name) for s, names in sections.items() for name in names)
        self._known = frozenset(self.names)
        place = len(manifest.numeric)
        self._numeric: list[tuple[str, Numeric, int | None]] = []
        for n in manifest.numeric:
            indicator = place if n.optional else None
            place += n.optional
            self._numeric.append((key("numeric", n.name), n, indicator))
        self._cyclic, self._waves = [_PARTS[part] for part in manifest.cyclic], place
        self._time = key("cyclic", "event_time") if manifest.cyclic else ""
        place += 2 * len(manifest.cyclic)
        self._one_hot: list[tuple[str, dict[str, int]]] = []
        for name, values in manifest.one_hot.items():
            hot = {value: place + index for index, value in enumerate(values)}
            self._one_hot.append((key("one_hot", name), hot))
            place += len(values)
        self._categorical = [
            (key("categorical", n), size) for n, size in manifest.categorical.items()
        ]

    def __call__(
        self, rows: Sequence[Mapping[str, object]]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The features, float32 [N, D], and the ids, int64 [N, F].

        Raises:
            ServingError: a feature is missing, unknown, or of another type.
        """
        features = np.zeros((len(rows), self._dim), np.float32)
        ids = np.zeros((len(rows), self._fields), np.int64)
        for row, dense, hashed in zip(rows, features, ids, strict=True):
            if row.keys() != self._known:
                raise _other_names(row, self.names)
            self._encode(row, dense, hashed)
        return features, ids

    def _encode(
        self, row: Mapping[str, object], dense: NDArray[np.float32], hashed: NDArray[np.int64]
    ) -> None:
        for index, (key, feature, indicator) in enumerate(self._numeric):
            x = _number(key, row[key])
            if x is not None and feature.log:
                x = _logarithm(key, x)
            if x is not None:
                dense[index] = max(min((x - feature.mean) / feature.scale, _FAR), -_FAR)
            elif indicator is not None:
                dense[indicator] = 1
            else:
                raise wrong(key, row[key], "a finite number", "write 0 where there is no history")
        if self._cyclic:
            seconds, place = _seconds(self._time, row[self._time]), self._waves
            for part in self._cyclic:
                angle = part(seconds) * (2 * math.pi)
                dense[place], dense[place + 1] = math.sin(angle), math.cos(angle)
                place += 2
        for key, hot in self._one_hot:
            text = _text(key, row[key])
            if text is not None and text in hot:
                dense[hot[text]] = 1
        for field, (key, size) in enumerate(self._categorical):
            text = _text(key, row[key])
            # Null has the id 0, which no value has.
            hashed[field] = 0 if text is None else _hash(key, text) % (size - 1) + 1


def _number(key: str, value: object) -> float | None:
    """A finite number, or None if it is missing."""
    if value is None:
        return None
    x = number(value)
    if x is None:
        raise wrong(key, value, "a number, or None if it is missing", "convert it to a number")
    return x if abs(x) < _LARGEST else None


def _logarithm(key: str, x: float) -> float:
    """Of a count or an age, as ``build_samples`` takes it."""
    if x < 0:
        raise wrong(key, x, "a count, or an age in days, from 0 on", "give it without a logarithm")
    return math.log1p(x)


def _text(key: str, value: object) -> str | None:
    """A text as Spark's cast gives it."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    # The value itself: an enum has a text of its own.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | np.integer) and abs(int(value)) < 10**_DIGITS:
        return str(int(value))
    raise wrong(
        key,
        value,
        f"a text, a whole number of at most {_DIGITS} digits, a boolean, or None",
        "write the text that `cast(... as string)` gives in Spark, such as '1.5'",
    )


def _hash(key: str, text: str) -> int:
    try:
        return xxhash64(text)
    except UnicodeEncodeError as error:
        expected = "a text that UTF-8 can encode"
        fix = "decode it with errors='replace', or give None"
        raise wrong(key, text, expected, fix) from error


def _seconds(key: str, value: object) -> int:
    """Whole seconds since 1970."""
    seconds: float | None = None
    if isinstance(value, datetime):
        seconds = value.timestamp() if value.tzinfo is not None else None
    elif not isinstance(value, bool | np.bool_):
        seconds = number(value)
    if seconds is not None and _FIRST <= seconds < _LAST:
        return math.floor(seconds)
    raise wrong(
        key,
        value,
        "a datetime with a time zone, or seconds since 1970, in the years 1 to 9999",
        "add a time zone, such as datetime.now(timezone.utc), or give time.time(); divide "
        "milliseconds by 1000",
    )


def _other_names(row: Mapping[str, object], names: tuple[str, ...]) -> ServingError:
    missing = [name for name in names if name not in row]
    unknown = [name for name in row if name not in names]
    what = "lacks features" if missing else "has features that the model does not know"
    parts = {"missing": missing, "unknown": unknown}
    return ServingError(
        f"the row {what}",
        expected=f"{list(names)}",
        got="; ".join(f"{kind}: {features}" for kind, features in parts.items() if features),
        fix="give every feature of the config, None for a missing value, and no other; if the "
        "features have changed, export a model that was trained on them",
    )
