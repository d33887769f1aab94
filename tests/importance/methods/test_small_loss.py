"""Small losses are kept, and the rows that are not are the flipped ones."""

from blobs import QUICK, planted

from reweight.importance.methods.small_loss import SmallLoss


def test_rows_of_wrong_labels_are_among_those_that_are_dropped() -> None:
    found = planted(SmallLoss(training=QUICK))
    dropped = found.scores["small_loss"] == 0
    assert 0.08 <= dropped.mean() <= 0.1
    assert found.flipped.mean() < 0.08
    assert dropped[found.flipped].mean() > 0.95
    assert SmallLoss().polarity == "valuable"


def test_a_rare_class_survives_its_own_quantile_and_not_that_of_all_rows() -> None:
    both = SmallLoss(training=QUICK), SmallLoss(training=QUICK, per_class=False, name="pooled")
    found = planted(*both, positives=0.0)
    # All positives are flipped negatives here: one row in ten, and the largest losses.
    kept = {name: values[found.label].mean() for name, values in found.scores.items()}
    assert kept["small_loss"] >= 0.9
    assert kept["pooled"] < 0.2
