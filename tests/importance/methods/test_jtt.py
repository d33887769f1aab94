"""JTT: a share of each class, that of the largest early losses, weighs lambda_up."""

import numpy as np
import pytest
from blobs import QUICK, planted

from reweight.importance.methods.jtt import Jtt
from reweight.importance.methods.small_loss import SmallLoss
from reweight.importance.training import Checkpoints


def test_the_rows_that_small_loss_would_drop_weigh_lambda_up_and_the_others_1() -> None:
    early = Checkpoints(which="early", count=3)
    jtt = Jtt(training=QUICK, keep=early, share=0.2, upweight=7.0)
    found = planted(jtt, SmallLoss(training=QUICK, keep=early, q=0.8)).scores
    np.testing.assert_array_equal(found["jtt"], np.where(found["small_loss"] == 0, 7.0, 1.0))
    assert 0.15 <= (found["jtt"] == 7).mean() <= 0.2


def test_losses_are_those_of_the_first_epochs() -> None:
    assert Jtt().checkpoint_choice().epochs(20, {7: 0.1}) == (1, 2, 3, 4, 5)


def test_rows_between_the_blobs_and_wrong_labels_are_what_is_wrong_early() -> None:
    found = planted(Jtt(training=QUICK, share=0.2))
    heavy = found.scores["jtt"] == 5
    assert heavy[found.flipped].mean() > 0.95
    assert heavy[found.between & ~found.flipped].mean() > 2 * heavy[~found.flipped].mean()
    assert Jtt().polarity == "hard"


def test_of_a_rare_class_its_own_share_is_taken_and_pooled_all_of_it() -> None:
    both = Jtt(training=QUICK), Jtt(training=QUICK, per_class=False, name="pooled")
    found = planted(*both, positives=0.0)
    # All positives are flipped negatives here: one row in ten, and the largest losses.
    heavy = {name: (values[found.label] == 5).mean() for name, values in found.scores.items()}
    assert heavy["jtt"] <= 0.1
    assert heavy["pooled"] > 0.8


def test_a_factor_of_1_is_uniform_and_less_is_refused() -> None:
    assert (planted(Jtt(training=QUICK, upweight=1.0), rows=200).scores["jtt"] == 1).all()
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Jtt(upweight=0.5)
