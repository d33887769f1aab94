"""T-CE drops the positives that fit worst, and those are the flipped ones."""

import pytest
from blobs import QUICK, planted

from reweight.importance.methods.t_ce import TCe


@pytest.mark.parametrize("positives", [0.5, 0.2])
def test_of_the_positives_that_are_dropped_nearly_all_are_wrong(positives: float) -> None:
    found = planted(TCe(training=QUICK, drop=0.08), positives=positives, rows=600)
    dropped = found.scores["t_ce"] == 0
    assert not dropped[~found.label].any()
    assert 0.06 <= dropped.sum() / found.label.sum() <= 0.08
    assert found.flipped[dropped].mean() > 0.9


def test_the_default_is_the_papers() -> None:
    assert (TCe().drop, TCe().polarity) == (0.1, "valuable")
