"""What methods for position bias say of the rows before anything is trained."""

import pytest

from reweight.core.errors import TrainingError
from reweight.importance.position_checks import check_shared


def test_label_events_that_several_samples_share_are_refused_with_the_line_to_write() -> None:
    check_shared("ipw_position", 0, 0, ("user_id", "item_id"))
    check_shared("ipw_position", 10, 1_000, ("user_id", "item_id"))
    with pytest.raises(TrainingError, match="'ipw_position'") as caught:
        check_shared("ipw_position", 211, 1_000, ("user_id", "item_id"))
    error = caught.value
    assert "one sample positive" in error.expected
    assert error.got.startswith("211 of 1000 label events (21.1%)")
    assert "user_id, item_id" in error.got
    assert "attribute: last" in error.fix
    assert "keys: [impression_id]" in error.fix
