"""Labels that come late: against the weights that the world's own law of delay gives."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.delayed_feedback import DelayedFeedback
from reweight.importance.methods.mature_only import MatureOnly
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

ROWS = 40_000
WAIT = 0.2
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """Rows as they were known at the cut."""

    batch: Batch

    @property
    def open(self) -> NDArray[np.bool_]:
        return self.batch.extra["mature"].numpy() == 0

    @property
    def label(self) -> Array:
        return self.batch.label.double().numpy()


@dataclass(frozen=True)
class World(Known):
    """These, and the truth of them."""

    comes: Array
    p: Array
    rate: Array
    there: Array


def at(delay_rate: Array, elapsed: Array | float) -> Array:
    """F(e, x): the delay is exponential, of those that come within the window."""
    found: Array = (1 - np.exp(-delay_rate * elapsed)) / (1 - np.exp(-delay_rate))
    return found


@cache
def world() -> World:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 3))
    p = 1 / (1 + np.exp(-(1.2 * x[:, 0] - 1)))
    comes = draw.random(ROWS) < p
    rate = np.exp(1 + x[:, 1])
    delay = -np.log(1 - draw.random(ROWS) * (1 - np.exp(-rate))) / rate
    elapsed = np.minimum(1, 2 * draw.random(ROWS))
    label = comes & (delay <= elapsed)
    batch = Batch(
        sample_id=torch.arange(ROWS),
        features=torch.from_numpy(x).float(),
        ids=torch.empty((ROWS, 0), dtype=torch.int64),
        label=torch.from_numpy(label).float(),
        extra={
            "elapsed": torch.from_numpy(elapsed).float(),
            "delay": torch.from_numpy(np.where(label, delay, np.nan)).float(),
            "mature": torch.from_numpy(elapsed == 1).float(),
        },
    )
    return World(batch, comes.astype(float), p, rate, at(rate, elapsed))


@cache
def model(form: str = "fsiw") -> ImportanceModel:
    batch = world().batch
    training = {"hidden": (16,), "bins": 0, "epochs": 10}
    wait = {"wait": WAIT} if form == "es_dfm" else {}
    method = DelayedFeedback.model_validate({"training": training, "form": form} | wait)
    facts = TrainFacts(dim=3, rows=ROWS, positives=int(batch.label.sum()))
    few = batch.rows(torch.arange(100))
    return fit_in_memory([method], facts, batch, few, batch_size=512)[0][method.name].model()


def weights() -> Array:
    fitted = model()
    with torch.inference_mode():
        return fitted(world().batch).double().numpy()


def test_open_rows_weigh_what_the_law_of_delay_says_and_settled_ones_1() -> None:
    own = world()
    p, f, positive = own.p, own.there, own.label == 1
    wanted = np.where(positive, np.minimum(1 / f, 20), (1 - p) / (1 - p * f))
    found = weights()
    assert (found[~own.open] == 1).all()
    for rows in (own.open & positive, own.open & ~positive):
        assert np.corrcoef(np.log(found[rows]), np.log(wanted[rows]))[0, 1] > 0.95
        assert np.abs(np.log(found / wanted))[rows].mean() < 0.12


def test_the_weighted_label_rate_of_open_rows_is_that_of_the_labels_that_come() -> None:
    own, w = world(), weights()
    rate = own.comes[own.open].mean()
    assert own.label[own.open].mean() < 0.8 * rate
    assert np.average(own.label[own.open], weights=w[own.open]) == pytest.approx(rate, rel=0.05)


def test_a_ranker_on_the_weights_is_nearer_to_the_truth_than_one_on_what_is_known() -> None:
    own = world()
    x = own.batch.features.numpy()

    def loss(weight: Array) -> float:
        ranker = LogisticRegression(C=1e6).fit(x, own.label, sample_weight=weight)
        q = ranker.predict_proba(x)[:, 1]
        return float(-(own.p * np.log(q) + (1 - own.p) * np.log(1 - q)).mean())

    floor = float(-(own.p * np.log(own.p) + (1 - own.p) * np.log(1 - own.p)).mean())
    assert loss(weights()) - floor < 0.1 * (loss(np.ones(ROWS)) - floor)


def sampled(form: str) -> tuple[Array, Array]:
    """Importance and soft label of the world's rows."""
    fitted, outputs = model(form), EnsembleOutputs(world().batch)
    with torch.inference_mode():
        found = fitted.importance(outputs), fitted.soft_label(outputs)
    return found[0].double().numpy(), found[1].double().numpy()


@pytest.mark.parametrize(("form", "wait"), [("es_dfm", WAIT), ("fnw", 0.0)])
def test_a_row_is_what_entered_when_its_wait_was_over_and_what_came_later(
    form: str, wait: float
) -> None:
    own, (weight, label) = world(), sampled(form)
    f = at(own.rate, wait)
    scale, never = 1 + own.p * (1 - f), (1 - own.p) / (1 - own.p * f)
    elapsed = own.batch.extra["elapsed"].double().numpy()
    delay = own.batch.extra["delay"].double().numpy()
    out = elapsed < np.float32(wait)
    early, late = ~out & (delay <= wait), ~out & (delay > wait)
    nothing = ~out & (own.label == 0)
    assert (weight[out] == 0).all()
    assert out.any() == early.any() == (wait > 0)
    assert (label[early] == 1).all()
    assert (label[nothing] == 0).all()
    expected = ((early, scale), (late, scale * (1 + never)), (nothing, scale * never))
    for rows, wanted in expected:
        if rows.any():
            assert np.abs(weight[rows] / wanted[rows] - 1).mean() < 0.06
    assert np.abs(label[late] - (1 / (1 + never))[late]).mean() < 0.03


@pytest.mark.parametrize("form", ["es_dfm", "fnw"])
def test_where_all_that_comes_has_come_the_sampled_forms_have_the_true_label_rate(
    form: str,
) -> None:
    own, (weight, label) = world(), sampled(form)
    f = at(own.rate, WAIT) if form == "es_dfm" else 0.0
    scale = 1 + own.p * (1 - f)
    for high in (False, True):
        rows = ~own.open & ((own.p > 0.3) == high)
        # Each counts as often as it enters, which the formula takes to be alike for all x.
        wanted = np.average(own.comes[rows], weights=scale[rows])
        assert np.average(label[rows], weights=weight[rows]) == pytest.approx(wanted, rel=0.04)


def test_sampled_forms_take_a_row_without_a_window_as_it_is() -> None:
    rows = world().batch.rows(torch.arange(200))
    none = replace(rows, extra=rows.extra | {"elapsed": torch.full((200,), torch.nan)})
    fitted, outputs = model("es_dfm"), EnsembleOutputs(none)
    with torch.inference_mode():
        assert (fitted.importance(outputs) == 1).all()
        assert torch.equal(fitted.soft_label(outputs), rows.label)


def test_importance_is_clipped_and_a_row_without_a_window_is_settled() -> None:
    batch = world().batch
    rows = batch.rows((batch.label == 1).nonzero()[:200, 0])
    at_once = replace(rows, extra=rows.extra | {"elapsed": torch.zeros(len(rows))})
    none = replace(rows, extra=rows.extra | {"elapsed": torch.full((len(rows),), torch.nan)})
    fitted = model()
    with torch.inference_mode():
        assert 10 < fitted(at_once).max() <= 20
        assert (fitted(none) == 1).all()


def test_what_came_after_the_cut_is_not_read() -> None:
    """Only settled rows teach: with other labels on open ones the model is the same."""
    batch = world().batch.rows(torch.arange(600))
    settled = batch.extra["mature"] == 1
    other = replace(batch, label=torch.where(settled, batch.label, 1 - batch.label))
    method = DelayedFeedback.model_validate({"training": {"hidden": (4,), "epochs": 1, "bins": 0}})
    learner = method.training.build(TrainFacts(dim=3, rows=600, positives=150))
    assert torch.equal(learner.loss(batch, 600)[0], learner.loss(other, 600)[0])


def test_mature_only_drops_open_rows() -> None:
    batch = world().batch
    found = MatureOnly().build(TrainFacts(dim=3, rows=ROWS, positives=9))(batch)
    assert torch.equal(found, batch.extra["mature"])
    assert 0.4 < found.mean() < 0.6


@dataclass(frozen=True)
class Refunds(Known):
    """These, and what they are once all is settled."""

    stays: Array
    p: Array
    f: Array
    a: Array

    @property
    def weight(self) -> Array:
        """What an open row weighs by both laws."""
        p, a = self.p, self.a
        return np.where(self.label == 1, np.minimum(1 / a, 20), (1 - p) / (1 - p * a))


@cache
def refunds() -> Refunds:
    """Labels arrive within a window, and some are taken back within the next one."""
    draw = np.random.default_rng(5)
    x = draw.normal(size=(ROWS, 3))
    comes = 1 / (1 + np.exp(-(1.2 * x[:, 0] - 0.5)))
    back = 1 / (1 + np.exp(-(x[:, 2] - 0.7)))
    rate, pace = np.exp(1 + x[:, 1]), 2.0
    delay = -np.log(1 - draw.random(ROWS) * (1 - np.exp(-rate))) / rate
    gap = -np.log(1 - draw.random(ROWS) * (1 - np.exp(-pace))) / pace
    elapsed = np.minimum(2, 4 * draw.random(ROWS))
    arrives = draw.random(ROWS) < comes
    returns = arrives & (draw.random(ROWS) < back)
    arrived = arrives & (delay <= elapsed)
    returned = returns & (delay + gap <= elapsed)
    # There at e: arrived at a time d before e, and not taken back in e - d; over quantiles of d.
    there = np.zeros(ROWS)
    for q in (np.arange(50) + 0.5) / 50:
        d = -np.log(1 - q * (1 - np.exp(-rate))) / rate
        still = 1 - at(np.full(ROWS, pace), np.clip(elapsed - d, 0, 1))
        there += np.where(d <= elapsed, still, 0) / 50
    f = at(rate, np.minimum(elapsed, 1))
    extra = {
        "elapsed": elapsed,
        "delay": np.where(arrived, delay, np.nan),
        "undone": np.where(returned, delay + gap, np.nan),
        "mature": (elapsed == 2).astype(float),
    }
    batch = Batch(
        sample_id=torch.arange(ROWS),
        features=torch.from_numpy(x).float(),
        ids=torch.empty((ROWS, 0), dtype=torch.int64),
        label=torch.from_numpy(arrived & ~returned).float(),
        extra={name: torch.from_numpy(values).float() for name, values in extra.items()},
    )
    stays = (arrives & ~returns).astype(float)
    return Refunds(batch, stays, comes * (1 - back), f, f + there * back / (1 - back))


@cache
def of_refunds() -> tuple[Array, Array]:
    """Importance under `fsiw`, and soft labels under `posterior`, by one training."""
    own = refunds().batch
    training = {"hidden": (16,), "bins": 0, "epochs": 10, "undo": True}
    shift, posterior = (
        DelayedFeedback.model_validate({"training": training, "form": form})
        for form in ("fsiw", "posterior")
    )
    facts = TrainFacts(dim=3, rows=ROWS, positives=int(own.label.sum()))
    few = own.rows(torch.arange(100))
    fitted = fit_in_memory([shift], facts, own, few, batch_size=512)[0][shift.name].model()
    soft = posterior.model(facts)
    soft.learners = fitted.learners
    with torch.inference_mode():
        outputs = EnsembleOutputs(own)
        found = fitted.importance(outputs), soft.soft_label(outputs)
    return found[0].double().numpy(), found[1].double().numpy()


def test_labels_that_may_be_taken_back_weigh_what_both_laws_say() -> None:
    own, (found, _) = refunds(), of_refunds()
    positive, wanted = own.label == 1, own.weight
    assert (found[~own.open] == 1).all()
    # Both ways: late labels are missing, and refunds are.
    rows = own.open & positive
    assert (wanted[rows] > 1).mean() > 0.1 and (wanted[rows] < 1).mean() > 0.1
    for rows in (own.open & positive, own.open & ~positive):
        assert np.corrcoef(np.log(found[rows]), np.log(wanted[rows]))[0, 1] > 0.85
        assert np.abs(np.log(found / wanted))[rows].mean() < 0.12


def test_the_weighted_label_rate_is_that_of_the_labels_that_stay() -> None:
    own, (weight, soft) = refunds(), of_refunds()
    elapsed = own.batch.extra["elapsed"].numpy()
    # New rows lack labels, and those of an age of a window have too many.
    young, old = own.open & (elapsed < 0.3), own.open & (abs(elapsed - 0.9) < 0.2)
    assert own.label[young].mean() < 0.6 * own.stays[young].mean()
    assert own.label[old].mean() > 1.07 * own.stays[old].mean()
    for rows in (young, old):
        rate = np.average(own.label[rows], weights=own.weight[rows])
        assert rate == pytest.approx(own.stays[rows].mean(), rel=0.08)
        found = np.average(own.label[rows], weights=weight[rows])
        assert found == pytest.approx(rate, rel=0.08)
        assert soft[rows].mean() == pytest.approx(own.stays[rows].mean(), rel=0.08)
    there = own.open & (own.label == 1)
    assert soft[there].mean() == pytest.approx(own.stays[there].mean(), rel=0.03)
    assert (soft[~own.open] == own.label[~own.open]).all()


@pytest.mark.parametrize(("p", "f", "a"), [(0.95, 0.2, 1.05), (0.999999, 0.0, 1.0), (1.0, 0.5, 2)])
def test_networks_that_contradict_each_other_leave_weights_and_labels_in_their_bounds(
    p: float, f: float, a: float
) -> None:
    rows = refunds().batch.rows(torch.arange(200))
    open_rows = rows.extra["mature"] == 0
    assert 0 < rows.label[open_rows].mean() < 1
    for form, bound in (("posterior", 1.0), ("fsiw", 5.0)):
        settings = {"form": form, "training": {"undo": True}}
        settings |= {"clip": bound} if form == "fsiw" else {}
        model = DelayedFeedback.model_validate(settings).model(
            TrainFacts(dim=3, rows=9, positives=4)
        )

        def said(outputs: EnsembleOutputs) -> tuple[torch.Tensor, ...]:
            return tuple(torch.full_like(outputs.batch.label, value) for value in (p, f, a))

        model.now = said  # type: ignore[assignment]
        outputs = EnsembleOutputs(rows)
        found = model.soft_label(outputs) if form == "posterior" else model.importance(outputs)
        assert ((found >= 0) & (found <= bound)).all()


@pytest.mark.parametrize(
    "values",
    [
        {"form": "es_dfm", "training": {"undo": True}},
        {"training": {"undo": True, "delays": "weibull"}},
    ],
    ids=str,
)
def test_what_says_nothing_of_labels_that_are_taken_back_is_refused(
    values: dict[str, object],
) -> None:
    with pytest.raises(ValidationError, match="undo"):
        DelayedFeedback.model_validate(values)
