"""What methods for late labels say of the rows before anything is trained."""

import pytest

from reweight.core.errors import TrainingError
from reweight.importance.label_windows import check_arrivals


def test_delays_that_are_known_lie_between_the_sample_and_the_cut() -> None:
    check_arrivals("delayed_feedback", 10, 0)
    with pytest.raises(TrainingError, match="cannot learn how late") as caught:
        check_arrivals("delayed_feedback", 0, 0)
    assert "open_windows: train" in caught.value.fix
    with pytest.raises(TrainingError, match="cannot use the delays") as caught:
        check_arrivals("delayed_feedback", 10, 3)
    assert caught.value.got == "other values for 3 of 10 positives"
    assert "one unit" in caught.value.fix
