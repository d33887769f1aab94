"""The key that was probably meant."""

import pytest

from reweight.config import RunConfig
from reweight.core.known_keys import meant_key
from reweight.importance.methods import Method


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        (("clening",), "did you mean cleaning?"),
        (("fitting", "rank"), "did you mean ranks?"),
        (("sampling", "label", "windo"), "did you mean window?"),
        # An item of a list of several kinds; a name that the user gave; a key with an alias.
        (("importance", 2, "self_confidence", "training", "epoch"), "did you mean epochs?"),
        (("features", "history", "mine", "keyz"), "did you mean keys?"),
        (("cleaning", "sources", "web", "shema"), "did you mean schema?"),
        # Another section has it.
        (("batch_size",), "there is fitting.batch_size"),
        (("fitting", "qqq"), None),
    ],
)
def test_the_key_that_was_meant(place: tuple[int | str, ...], hint: str | None) -> None:
    assert meant_key(RunConfig, place) == hint


def test_the_key_of_a_method_alone() -> None:
    assert meant_key(Method, ("self_confidence", "training", "epoch")) == "did you mean epochs?"
