"""Values that a caller gives: numbers of any kind, and the error about what is something else."""

import math

import numpy as np

from reweight.core.errors import ServingError

# Not np.number: it has complex numbers.
_KINDS = (float, int, np.floating, np.integer, np.bool_)


def number(value: object) -> float | None:
    """A number as float64, infinite beyond its range; None if the value is none."""
    if not isinstance(value, _KINDS):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def wrong(name: str, value: object, expected: str, fix: str) -> ServingError:
    """The error about a value that ``name`` cannot have."""
    try:
        shown = f"{value!r:.60}"
    except ValueError:
        # Python prints no whole number of thousands of digits.
        shown = "a number too long to print"
    got = f"{shown} ({type(value).__name__})"
    return ServingError(f"'{name}' cannot have this value", expected=expected, got=got, fix=fix)
