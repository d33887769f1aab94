"""The area under the margin of two logits, and wrong labels have a negative one."""

import numpy as np
import pytest
from blobs import QUICK, TRAINING, Said, built, planted, rows_of, scores

from reweight.importance.methods.aum import Aum


def test_it_is_the_mean_of_the_given_logit_minus_the_largest_other() -> None:
    model, batch = built(Aum(training=TRAINING)), rows_of()
    said = Said.of(model, batch)
    # A sigmoid's z as a softmax has it: logits (-z/2, z/2).
    logits = np.stack([-said.z / 2, said.z / 2], axis=-1)
    given = said.y.astype(int)[None, :, None, None]
    assigned = np.take_along_axis(logits, np.broadcast_to(given, (*said.z.shape, 1)), -1)[..., 0]
    others = np.take_along_axis(logits, np.broadcast_to(1 - given, (*said.z.shape, 1)), -1)
    margins = assigned - others.max(-1)
    assert scores(model, batch) == pytest.approx(said.mean(margins).mean(0), rel=1e-4, abs=1e-5)


def test_it_reads_the_whole_training() -> None:
    assert Aum().checkpoint_choice().epochs(20, {7: 0.1}) == (2, 4, 6, 8, 10, 12, 14, 16, 18, 20)


def test_wrong_labels_are_worth_least_and_below_zero() -> None:
    found = planted(Aum(training=QUICK))
    assert found.auroc("aum") < 0.02
    assert np.median(found.scores["aum"][found.flipped]) < 0
    assert np.median(found.scores["aum"][~found.flipped]) > 0
    assert Aum().polarity == "valuable"
