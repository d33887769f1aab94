"""Delays that are known only if they are short: against the law that made them."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from reweight.benchmark.fits import facts_of
from reweight.core.errors import TrainingError
from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.delays import WeibullLearner, counted, weibull
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.delayed_feedback import DelayedFeedback
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

ROWS, SHAPE, SCALE = 30_000, 0.7, 20.0
Array = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Rows of 60 days as they were known at its end, and the truth of them."""

    batch: Batch
    ever: Array
    p: Array
    there: Array

    @property
    def label(self) -> Array:
        return self.batch.label.double().numpy()


@cache
def world(drift: float = 0.0) -> World:
    """Labels arrive at any time; with drift, new rows (of a low age) have them more often."""
    draw = np.random.default_rng(3)
    x, age = draw.normal(size=(ROWS, 2)), 60 * draw.random(ROWS)
    p = 1 / (1 + np.exp(-(x[:, 0] - 1.5 + drift * (1 - age / 30))))
    ever = draw.random(ROWS) < p
    delay = SCALE * draw.weibull(SHAPE, ROWS)
    label = ever & (delay <= age)
    batch = Batch(
        sample_id=torch.arange(ROWS),
        features=torch.from_numpy(x).float(),
        ids=torch.empty((ROWS, 0), dtype=torch.int64),
        label=torch.from_numpy(label).float(),
        extra={
            "elapsed": torch.from_numpy(age).float(),
            "delay": torch.from_numpy(np.where(label, delay, np.nan)).float(),
        },
    )
    return World(batch, ever.astype(float), p, 1 - np.exp(-((age / SCALE) ** SHAPE)))


def method(form: str = "fsiw") -> DelayedFeedback:
    training = {"delays": "weibull", "hidden": (16,), "bins": 0, "epochs": 10, "members": 3}
    return DelayedFeedback.model_validate({"training": training, "form": form})


@cache
def model(form: str = "fsiw") -> ImportanceModel:
    batch, chosen = world().batch, method(form)
    facts = facts_of(batch, (), 0, chosen.training)
    few = batch.rows(torch.arange(100))
    return fit_in_memory([chosen], facts, batch, few, batch_size=256)[0][chosen.name].model()


def test_the_law_of_the_delays_is_recovered_from_those_that_are_known() -> None:
    batch = world().batch
    delay = batch.extra["delay"].double().numpy()
    waiting = batch.extra["elapsed"].double().numpy()[world().label == 0]
    # Taken as they are, known delays are far too short.
    assert np.nanmean(delay) < 0.6 * SCALE / SHAPE
    arrived = counted(delay)
    assert sum(n for _, n in arrived) == world().label.sum()
    assert len(arrived) < 150
    shape, scale = weibull(arrived, counted(waiting))
    assert shape == pytest.approx(SHAPE, rel=0.04)
    assert scale == pytest.approx(SCALE, rel=0.1)
    learner = model().checkpoints()[-1]
    assert isinstance(learner, WeibullLearner)
    assert learner.law.tolist() == pytest.approx([shape, scale])


def test_a_label_rate_that_rises_makes_delays_look_shorter_and_one_that_falls_longer() -> None:
    found = []
    for drift in (1.0, 0.0, -0.5):
        own = world(drift)
        delay, elapsed = (own.batch.extra[k].double().numpy() for k in ("delay", "elapsed"))
        found.append(weibull(counted(delay), counted(elapsed[own.label == 0]))[1])
    assert found == sorted(found)
    assert found[0] < 0.9 * SCALE < 1.1 * SCALE < found[2]


def test_without_an_arrived_label_nothing_is_known_of_delays() -> None:
    with pytest.raises(TrainingError, match="cannot learn how late"):
        weibull((), ((3.0, 10),))
    shape, scale = weibull(((1.0, 3), (2.0, 4)), ())
    assert 0 < shape < 20
    assert 1 < scale < 2.5


def test_open_rows_weigh_what_the_law_of_delay_says() -> None:
    own = world()
    p, f, positive = own.p, own.there, own.label == 1
    wanted = np.where(positive, np.minimum(1 / f, 20), (1 - p) / (1 - p * f))
    fitted = model()
    with torch.inference_mode():
        found = fitted(own.batch).double().numpy()
    for rows in (positive, ~positive):
        assert np.abs(np.log(found / wanted))[rows].mean() < 0.08
    assert own.label.mean() < 0.75 * own.ever.mean()
    assert np.average(own.label, weights=found) == pytest.approx(own.ever.mean(), rel=0.05)


def test_the_soft_labels_of_open_rows_are_the_chance_that_a_label_still_comes() -> None:
    own, outputs = world(), EnsembleOutputs(world().batch)
    fitted = model("posterior")
    with torch.inference_mode():
        weight, label = fitted.importance(outputs), fitted.soft_label(outputs).double().numpy()
    assert (weight == 1).all()
    negative = own.label == 0
    assert (label[~negative] == 1).all()
    wanted = (own.p * (1 - own.there) / (1 - own.p * own.there))[negative]
    assert np.abs(label[negative] - wanted).mean() < 0.02
    assert label.mean() == pytest.approx(own.ever.mean(), rel=0.05)


def few_facts() -> TrainFacts:
    times = ((1.0, 3),)
    return TrainFacts(dim=2, rows=300, positives=50, arrived=times, waiting=times)


def test_a_row_without_an_elapsed_time_is_settled() -> None:
    rows = world().batch.rows(torch.arange(300))
    unknown = torch.full((300,), torch.nan)
    none = Batch(
        rows.sample_id, rows.features, rows.ids, rows.label, {"elapsed": unknown, "delay": unknown}
    )
    for form in ("fsiw", "posterior"):
        fitted, outputs = model(form), EnsembleOutputs(none)
        with torch.inference_mode():
            assert (fitted.importance(outputs) == 1).all()
            assert torch.equal(fitted.soft_label(outputs), rows.label)
    learner = method().training.build(few_facts())
    loss, out_of_bag = learner.loss(none, 300)
    loss.backward()
    assert loss.isfinite()
    assert out_of_bag.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())


def test_labels_at_once_and_after_years_have_a_finite_loss() -> None:
    rows = world().batch.rows(torch.arange(4))
    elapsed, delay = torch.tensor([0.0, 3000, 3000, 0]), torch.tensor([0.0, 0, 3000, torch.nan])
    label = torch.tensor([1.0, 1, 1, 0])
    extra = {"elapsed": elapsed, "delay": delay}
    batch = Batch(rows.sample_id, rows.features, rows.ids, label, extra)
    learner = method().training.build(few_facts())
    loss, _ = learner.loss(batch, 4)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())


@pytest.mark.parametrize("form", ["es_dfm", "fnw"])
def test_forms_that_wait_for_a_share_of_the_window_need_one(form: str) -> None:
    with pytest.raises(ValidationError, match="form: fsiw or form: posterior"):
        method(form)


def test_settled_rows_are_read_only_where_they_are_needed() -> None:
    assert method().columns() == ("delay", "elapsed")
    assert DelayedFeedback().columns() == ("delay", "elapsed", "mature")
