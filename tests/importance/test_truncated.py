"""Where losses are cut: a share of the training rows, whatever the ranks, ties and extremes."""

import numpy as np
import pytest
import torch
from blobs import TRAINING, Array, Said, built, rows_of, scores

from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.jtt import Jtt
from reweight.importance.methods.small_loss import SmallLoss
from reweight.importance.methods.t_ce import TCe
from reweight.importance.truncated import TruncatedModel


def looked(method: ImportanceMethod, batches: list[Batch]) -> TruncatedModel:
    model = built(method)
    assert isinstance(model, TruncatedModel)
    for batch in batches:
        model.observe(EnsembleOutputs(batch), "train")
        model.observe(EnsembleOutputs(rows_of(50, seed=9)), "validation")
    model.finish(0)
    return model


def losses(method: ImportanceMethod, batch: Batch) -> Array:
    said = Said.of(built(method), batch)
    found: Array = -np.log(said.mean(said.given).mean(0))
    return found


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.35, 0.9])
@pytest.mark.parametrize("kind", ["t_ce", "small_loss", "pooled"])
def test_the_rows_of_weight_0_are_those_of_the_largest_losses(kind: str, share: float) -> None:
    methods = {
        "t_ce": TCe(training=TRAINING, drop=share),
        "small_loss": SmallLoss(training=TRAINING, q=1 - share),
        "pooled": SmallLoss(training=TRAINING, q=1 - share, per_class=False),
    }
    method, batch = methods[kind], rows_of(500)
    own, label = losses(method, batch), batch.label.numpy()
    wanted = np.ones(500)
    groups = {"t_ce": [label == 1], "small_loss": [label == 0, label == 1], "pooled": [label >= 0]}
    for group in groups[kind]:
        places = np.flatnonzero(group)
        dropped = int(share * len(places) + 1e-9)
        wanted[places[np.argsort(own[places])][len(places) - dropped :]] = 0
    found = scores(looked(method, [batch]), batch)
    # Rows of the bin that the share ends in are kept together.
    assert set(np.unique(found)) <= {0.0, 1.0}
    assert (found >= wanted).all()
    assert (found != wanted).sum() <= 3 * len(groups[kind])
    assert (found == 0).any() == (share > 0)


def test_a_share_that_is_a_whole_number_of_rows_is_dropped_whole() -> None:
    batch = rows_of(100)
    batch = batch.rows(torch.cat([(batch.label == y).nonzero()[:10, 0] for y in (0, 1)]))
    one, both = TCe(training=TRAINING, drop=0.3), SmallLoss(training=TRAINING, q=0.9)
    assert scores(looked(one, [batch]), batch).sum() == 20 - 3
    assert scores(looked(both, [batch]), batch).sum() == 20 - 2


def test_a_weight_below_the_cut_is_given_to_the_rows_that_would_weigh_0() -> None:
    batch = rows_of(200)
    early = {"training": TRAINING, "keep": {"which": "early", "count": 3}}
    dropped = looked(SmallLoss.model_validate(early | {"q": 0.7}), [batch])
    heavy = looked(Jtt.model_validate(early | {"share": 0.3, "upweight": 4.0}), [batch])
    wanted = np.where(scores(dropped, batch) == 0, 4.0, 1.0)
    assert np.array_equal(scores(heavy, batch), wanted)
    assert 50 < (wanted == 4).sum() <= 60


def test_the_cut_does_not_depend_on_batches_or_ranks() -> None:
    method, batch = SmallLoss(training=TRAINING, q=0.7), rows_of(300)
    whole = looked(method, [batch])
    ranks = [built(method) for _ in range(3)]
    for rank, model in enumerate(ranks):
        own = batch.rows(torch.arange(rank, 300, 3))
        for start in range(0, len(own), 17):
            rows = torch.arange(start, min(start + 17, len(own)))
            model.observe(EnsembleOutputs(own.rows(rows)), "train")
    total = sum(model.sums()[0] for model in ranks)
    for model in ranks:
        model.sums()[0].copy_(total)
        model.finish(0)
        assert torch.equal(model.cut, whole.cut)
    assert (whole.cut > 0).all()


def test_rows_that_cannot_be_told_apart_all_stay() -> None:
    method, batch = TCe(training=TRAINING, drop=0.5), rows_of(100)
    same = batch.rows(torch.full((100,), int(batch.label.argmax())))
    model = looked(method, [same])
    assert scores(model, same).all()
    # While a later row that fits worse than all of them is dropped.
    with torch.no_grad():
        for learner in model.checkpoints():
            learner.ensemble.biases[-1].sub_(30)
    assert not scores(model, same).any()


def test_where_no_row_is_to_be_dropped_not_even_a_worse_one_is() -> None:
    model = looked(TCe(training=TRAINING), [rows_of(200)])
    batch = rows_of(200, seed=3)
    with torch.no_grad():
        for learner in model.checkpoints():
            learner.ensemble.biases[-1].add_(30)
    negatives = batch.label.numpy() == 0
    assert scores(model, batch)[negatives].all()


def test_probabilities_of_0_and_1_have_a_bin() -> None:
    model = looked(TCe(training=TRAINING), [rows_of(200)])
    batch = rows_of(50)
    for shift in (1e4, -2e4):
        with torch.no_grad():
            for learner in model.checkpoints():
                learner.ensemble.biases[-1].add_(shift)
        assert np.array_equal(scores(model, batch) == 0, (batch.label.numpy() == 1) & (shift < 0))
