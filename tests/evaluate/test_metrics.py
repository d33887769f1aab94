"""Metrics from histograms, against scikit-learn on the rows."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from reweight.evaluate import metrics

Array = NDArray[np.float64]
BINS = 20


def rows_of(seed: int, rate: float = 0.3, rows: int = 400) -> tuple[Array, NDArray[np.int64]]:
    """Labels, and scores with many ties that go with them."""
    generator = np.random.default_rng(seed)
    label = (generator.random(rows) < rate).astype(float)
    score = np.clip(np.round(6 + 4 * label + generator.normal(0, 3, rows)), 0, BINS - 1)
    return label, score.astype(np.int64)


def histogram(label: Array, score: NDArray[np.int64]) -> tuple[Array, Array]:
    pos = np.bincount(score[label == 1], minlength=BINS).astype(float)
    neg = np.bincount(score[label == 0], minlength=BINS).astype(float)
    return pos, neg


def table_of(label: Array, called: NDArray[np.bool_]) -> tuple[Array, Array, Array, Array]:
    tn, fp, fn, tp = sk.confusion_matrix(label, called, labels=[0, 1]).ravel().astype(float)
    return np.asarray(tp), np.asarray(fp), np.asarray(fn), np.asarray(tn)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_auc_and_average_precision_equal_scikit_learns_on_tied_scores(
    seed: int, rate: float
) -> None:
    label, score = rows_of(seed, rate)
    pos, neg = histogram(label, score)
    assert metrics.auc(pos, neg) == pytest.approx(sk.roc_auc_score(label, score), abs=1e-12)
    assert metrics.average_precision(pos, neg) == pytest.approx(
        sk.average_precision_score(label, score), abs=1e-12
    )


def test_auc_of_known_histograms() -> None:
    high, low, even = np.array([0.0, 5.0]), np.array([3.0, 0.0]), np.array([2.0, 2.0])
    assert metrics.auc(high, low) == 1
    assert metrics.auc(low, high) == 0
    assert metrics.auc(even, even) == 0.5


def test_metrics_of_resamples_are_those_of_each_one() -> None:
    pairs = [histogram(*rows_of(seed)) for seed in range(6)]
    pos, neg = (np.stack(x).reshape(2, 3, BINS) for x in zip(*pairs, strict=True))
    for metric in (metrics.auc, metrics.average_precision):
        found = metric(pos, neg)
        assert found.shape == (2, 3)
        np.testing.assert_allclose(found.ravel(), [metric(*pair) for pair in pairs], rtol=1e-12)


def test_one_class_has_no_auc() -> None:
    none, some = np.zeros(BINS), np.ones(BINS)
    assert np.isnan(metrics.auc(some, none))
    assert np.isnan(metrics.auc(none, some))
    assert np.isnan(metrics.average_precision(none, some))
    assert np.isnan(metrics.auc(none, none))
    found = metrics.auc(np.stack([some, none]), np.stack([some, some]))
    np.testing.assert_array_equal(found, [0.5, np.nan])


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.97])
def test_entropy_is_the_log_loss_of_predicting_the_rate(rate: float) -> None:
    label = (np.arange(1000) < 1000 * rate).astype(float)
    wanted = sk.log_loss(label, np.full(1000, rate))
    assert metrics.entropy(np.asarray(rate)) == pytest.approx(wanted, rel=1e-9)


def test_labels_of_one_class_have_no_entropy_to_divide_by() -> None:
    none = metrics.entropy(np.array([0.0, 1.0, -0.1, 1.1]))
    np.testing.assert_array_equal(none, 0)
    assert np.isnan(metrics.ratio(np.full(4, 0.3), none)).all()


def test_calibration_error_is_the_mean_gap_weighted_by_rows() -> None:
    count = np.array([10.0, 30.0, 0.0, 60.0])
    predicted = np.array([1.0, 9.0, 0.0, 54.0])
    positives = np.array([3.0, 9.0, 0.0, 48.0])
    wanted = (10 * abs(0.1 - 0.3) + 30 * 0 + 60 * abs(0.9 - 0.8)) / 100
    assert metrics.calibration_error(count, predicted, positives) == pytest.approx(wanted)
    assert metrics.calibration_error(count, positives, positives) == 0


def test_confusion_calls_a_bin_and_those_above_it_positive() -> None:
    label, score = rows_of(1)
    found = metrics.confusion(*histogram(label, score))
    for bin_ in range(BINS):
        wanted = table_of(label, score >= bin_)
        assert [float(x[bin_]) for x in found] == [float(x) for x in wanted]


@pytest.mark.parametrize("threshold", [0, 4, 9, 14, BINS])
@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_macro_metrics_equal_scikit_learns(rate: float, threshold: int) -> None:
    label, score = rows_of(2, rate)
    called = score >= threshold
    table = table_of(label, called)
    wanted = {"average": "macro", "zero_division": 0, "labels": [0, 1]}
    assert metrics.macro_precision(*table) == pytest.approx(
        sk.precision_score(label, called, **wanted)
    )
    assert metrics.macro_recall(*table) == pytest.approx(sk.recall_score(label, called, **wanted))
    assert metrics.macro_f1(*table) == pytest.approx(sk.f1_score(label, called, **wanted))


@pytest.mark.parametrize("threshold", [4, 9, 14])
def test_macro_precision_with_its_arguments_swapped_is_macro_recall(threshold: int) -> None:
    label, score = rows_of(3)
    called = (score >= threshold).astype(float)
    swapped = sk.precision_score(called, label, average="macro")
    assert metrics.macro_recall(*table_of(label, called == 1)) == pytest.approx(swapped)
    assert metrics.macro_precision(*table_of(called, label == 1)) == pytest.approx(swapped)
    assert metrics.macro_precision(*table_of(label, called == 1)) != pytest.approx(
        swapped, abs=0.01
    )


def test_one_correct_positive_in_a_rare_class_scores_high_on_macro_precision() -> None:
    # The published metric: one hit among 1.09 % positives, and nothing else called.
    label = (np.arange(10_000) < 109).astype(float)
    called = np.arange(10_000) < 1
    assert metrics.macro_precision(*table_of(label, called)) == pytest.approx(0.995, abs=5e-4)
    assert metrics.macro_recall(*table_of(label, called)) < 0.51


def test_ratio_is_undefined_over_zero_and_takes_a_stand_in() -> None:
    above, below = np.array([1.0, 0.0, 3.0]), np.array([0.0, 0.0, 2.0])
    np.testing.assert_array_equal(metrics.ratio(above, below), [np.nan, np.nan, 1.5])
    np.testing.assert_array_equal(metrics.ratio(above, below, 0.0), [0.0, 0.0, 1.5])
    # What is not known is not 0.
    assert np.isnan(metrics.ratio(np.array(1.0), np.array(np.nan), 0.0))
