"""What importance may depend on besides the features: the label, the id, the position, ..."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reweight.core.errors import ServingError
from reweight.serving.manifest import Manifest
from reweight.serving.values import number, wrong

# Columns of `samples` that a method may read.
_KNOWN = frozenset(
    {
        *("sample_id", "label", "segment", "position", "propensity", "value"),
        *("mature", "elapsed", "delay", "undone", "target", "design_weight"),
    }
)


class Beside:
    """Puts these columns into the order in which the program takes them.

    Args:
        manifest: names the columns, and which of them are read.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._method, self._reads = manifest.method, manifest.reads
        self._columns = [
            (index, name) for index, name in enumerate(manifest.columns) if name in self._reads
        ]
        self._width = len(manifest.columns)
        self._numbers = {
            name: {segment: index for index, segment in enumerate(segments, 1)}
            for name, segments in (("segment", manifest.segments), ("capped", manifest.capped))
        }
        # One input gives both numbers.
        self.reads = tuple(dict.fromkeys("segment" if n == "capped" else n for n in self._reads))

    def __call__(
        self, rows: int, given: Mapping[str, Sequence[object]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The ids, int64 [N], and the columns, float32 [N, K].

        Raises:
            ServingError: a column is missing or unknown, or has another length or other values.
        """
        if unknown := sorted(given.keys() - _KNOWN):
            raise ServingError(
                "the scorer does not know these columns",
                expected=f"{list(self.reads)}" if self.reads else "features alone",
                got=str(unknown),
                fix="leave them out; features go into the row, by name",
            )
        if missing := [name for name in self.reads if name not in given]:
            raise ServingError(
                f"the importance of '{self._method}' depends on more than the features",
                expected=f"{list(self.reads)} beside the features",
                got=f"no {', '.join(missing)}",
                fix="give "
                + ", ".join(f"{name}=..." for name in missing)
                + ", as in the table samples",
            )
        for name in self.reads:
            if len(given[name]) != rows:
                raise ServingError(
                    f"'{name}' has another number of rows than the features",
                    expected=f"{rows}",
                    got=f"{len(given[name])}",
                    fix="give one value for each row",
                )
        columns = np.zeros((rows, self._width), np.float32)
        for index, name in self._columns:
            if numbers := self._numbers.get(name):
                columns[:, index] = [_segment(v, numbers) for v in given["segment"]]
            elif name not in self._numbers:
                columns[:, index] = [_number(name, value) for value in given[name]]
        ids = np.zeros(rows, np.int64)
        if "sample_id" in self._reads:
            ids[:] = [_id(value) for value in given["sample_id"]]
        return ids, columns


def _segment(value: object, numbers: Mapping[str, int]) -> int:
    # Null is no segment, but the empty text may be one.
    if value is None:
        return 0
    if isinstance(value, str):
        return numbers.get(value, 0)
    raise _wrong("segment", value, "a text, or None")


def _number(name: str, value: object) -> float:
    x = number(value)
    if name == "label":
        if x in (0, 1):
            return x
        raise _wrong(name, value, "0 or 1")
    if value is None:
        # A row whose log was not thinned stands for itself; a method reads other nulls as NaN.
        return 1.0 if name == "design_weight" else math.nan
    if x is None:
        raise _wrong(name, value, "a number, or None")
    return x


def _id(value: object) -> int:
    if isinstance(value, int | np.integer) and -(2**63) <= int(value) < 2**63:
        return int(value)
    raise _wrong("sample_id", value, "the 64-bit number of the table samples")


def _wrong(name: str, value: object, expected: str) -> ServingError:
    return wrong(name, value, expected, f"give {name} as the table samples has it")
