"""Lengths of time, and names that reach SQL and paths."""

import pytest
from pydantic import TypeAdapter, ValidationError

from reweight.core.section import Name, RunId, Seconds, Section


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90),
        ("1 second", 1),
        ("90 seconds", 90),
        ("5 minutes", 300),
        ("12 hours", 43_200),
        ("1 hour", 3_600),
        ("3 days", 259_200),
        ("3days", 259_200),
        (" 2  weeks ", 1_209_600),
    ],
)
def test_a_length_of_time_is_whole_seconds(written: object, seconds: int) -> None:
    assert TypeAdapter(Seconds).validate_python(written) == seconds


@pytest.mark.parametrize("written", ["3", "days", "3 month", "1.5 hours", "-1 day", "3 days ago"])
def test_a_length_without_a_known_unit_is_refused_with_the_units(written: str) -> None:
    with pytest.raises(ValidationError, match="second, minute, hour, day, week") as caught:
        TypeAdapter(Seconds).validate_python(written)
    assert f"got '{written}'" in str(caught.value)


@pytest.mark.parametrize("written", [0, -5, "0 days"])
def test_no_length_of_time_is_nothing_or_less(written: object) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        TypeAdapter(Seconds).validate_python(written)


HOSTILE = ("", " ", "a b", "a'b", 'a"b', "a`b", "a/b", "a\\b", "..", "a.b", "a;b", "a\n", "é")


@pytest.mark.parametrize("name", ["a", "_hidden", "log_price", "A1", "x" * 64])
def test_a_plain_word_is_a_name(name: str) -> None:
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize("name", [*HOSTILE, "1st", "a-b", "x" * 65])
def test_a_name_that_would_need_quotes_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@pytest.mark.parametrize("run_id", ["a", "2026-01-31", "Demo_2", "7", "x" * 64])
def test_a_run_id_may_be_a_date(run_id: str) -> None:
    assert TypeAdapter(RunId).validate_python(run_id) == run_id


@pytest.mark.parametrize("run_id", [*HOSTILE, "-rf", "_x", "' OR '1'='1", "../other", "x" * 65])
def test_a_run_id_that_could_leave_its_folder_or_its_slice_is_refused(run_id: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RunId).validate_python(run_id)


class Part(Section):
    rows: int = 1


def test_a_section_does_not_change_and_knows_no_other_key() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Part().rows = 2  # type: ignore[misc]
    with pytest.raises(ValidationError, match="rovs"):
        Part.model_validate({"rovs": 2})
