"""YAML: what is not a plain number or boolean stays the text that was written."""

import math

import pytest
from yaml import YAMLError

from reweight.core.yaml_text import parsed


def test_only_plain_numbers_and_booleans_are_no_texts() -> None:
    values = parsed("[0, -7, 12, 0.5, -1.25, 1e-3, 1E5, true, False, null, ~]")
    assert values == [0, -7, 12, 0.5, -1.25, 0.001, 100_000.0, True, False, None, None]
    assert [type(value) for value in values[:3]] == [int] * 3
    assert math.isinf(parsed(".inf"))


@pytest.mark.parametrize(
    "text",
    ["0101", "007", "2026_01_31", "0x1f", "12:30", "1.10", "0.60", ".5", "yes", "on", "2026-03-01"],
)
def test_what_yaml_would_write_otherwise_stays_as_it_is(text: str) -> None:
    assert parsed(f"a: {text}") == {"a": text}
    assert parsed(f"a: '{text}'") == {"a": text}


def test_references_and_merges_are_those_of_yaml() -> None:
    assert parsed("a: &x {k: 1}\nb: {<<: *x, m: 2}\nc: *x") == {
        "a": {"k": 1},
        "b": {"k": 1, "m": 2},
        "c": {"k": 1},
    }
    with pytest.raises(YAMLError, match="duplicate key a"):
        parsed("a: 1\nb: 2\na: 3")
