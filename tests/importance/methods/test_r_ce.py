"""R-CE is a power of p(given label), and rows of wrong labels lose weight."""

import pytest
from blobs import QUICK, TRAINING, Said, built, planted, rows_of, scores

from reweight.importance.methods.r_ce import RCe


@pytest.mark.parametrize("a", [0.25, 0.0, 2.0])
def test_it_is_f_to_the_a_for_positives_and_its_counterpart_for_negatives(a: float) -> None:
    model, batch = built(RCe(training=TRAINING, a=a)), rows_of()
    said = Said.of(model, batch)
    positive, negative = said.mean(said.p**a).mean(0), said.mean((1 - said.p) ** a).mean(0)
    wanted = [p if y else n for p, n, y in zip(positive, negative, said.y, strict=True)]
    assert scores(model, batch) == pytest.approx(wanted, rel=1e-5)


def test_the_default_is_the_papers() -> None:
    assert RCe().a == 0.25


def test_wrong_labels_are_worth_least() -> None:
    found = planted(RCe(training=QUICK))
    assert found.auroc("r_ce") < 0.02
    assert RCe().polarity == "valuable"
