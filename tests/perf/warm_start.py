"""Ten days of turning tastes: what each kind of warm start gains, against training anew.

The world is that of `simulate_logs`, in memory: the same law of relevance, in which tastes turn by
``TURN`` radians a day and some items leave while others come. Every night models are trained on the
clicks of the last days, and serve the next one. Each kind of warm start goes on from its own model
of the night before, ten nights in a row; and, for one night, from the model trained anew then.

A gain is the fall of the log loss on the day that is served, under its true probabilities, against
the model that was trained anew the night before, or against the first one, if it was never trained
again; the share of a kind is its mean gain over that of training anew. Cost is optimizer steps
times trained parameters, or seconds of the processor.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tests.perf.measuring import Figure

from reweight.benchmark.fits import facts_of
from reweight.importance.artifact import ModelArtifact
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory
from reweight.training.known_ids import new_ids, occurring
from reweight.training.loop import Trainer
from reweight.training.update import Extent
from reweight.training.warm_start import StartingModels

DAYS, WINDOW, ROWS, BATCH, SEED = 10, 3, 4_000, 256, 5
TURN, CATEGORIES, USERS, ITEMS, COMING = 0.2, 12, 3000, 500, 10
EPOCHS, FEWER = 10, 2
# Few parameters take longer steps.
RATES: Mapping[Extent, float] = {"all": 0.003, "head": 0.01, "low_rank": 0.01}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Day:
    """The rows of a day, and the true probability of each label, float64 [N]."""

    rows: Batch
    truth: Array


class World:
    """Users, items and their law; days are numbered from ``-WINDOW``."""

    def __init__(self, seed: int, turn: float) -> None:
        self.seed, self.turn = seed, turn
        draw = np.random.default_rng(seed)
        self.ids = ITEMS + COMING * (DAYS + WINDOW + 1)
        self.taste = draw.uniform(0, 2 * np.pi, USERS)
        self.kind = draw.integers(0, CATEGORIES, self.ids) * (2 * np.pi / CATEGORIES)
        self.quality = 0.6 * draw.normal(size=self.ids)
        self.cost = draw.normal(size=self.ids)

    def day(self, number: int, rows: int = ROWS) -> Day:
        """The impressions of a day."""
        draw = np.random.default_rng([self.seed, number + WINDOW])
        user = draw.integers(0, USERS, rows)
        # The oldest items have left.
        item = draw.integers(0, ITEMS, rows) + COMING * (number + WINDOW)
        turned = self.turn * (number + draw.uniform(0, 1, rows))
        kind, likes = self.kind[item], self.taste[user] + turned
        interest = 0.5 * np.cos(likes - kind) + 0.7 * np.cos(kind + turned)
        logit = -0.6 + self.quality[item] + interest - 0.5 * self.cost[item]
        truth = 1 / (1 + np.exp(-logit))
        known = self.taste[user] + 0.3 * draw.normal(size=rows)
        hot = np.eye(CATEGORIES)[np.rint(kind / (2 * np.pi / CATEGORIES)).astype(int)]
        hour = draw.uniform(0, 2 * np.pi, rows)
        waves = [wave(angle) for angle in (known, hour) for wave in (np.cos, np.sin)]
        features = np.column_stack([*waves, self.cost[item], hot])
        rows_of = Batch(
            sample_id=torch.from_numpy(draw.integers(-(2**63), 2**63 - 1, rows)),
            features=torch.from_numpy(features).float(),
            ids=torch.from_numpy(item)[:, None],
            label=torch.from_numpy((draw.uniform(size=rows) < truth).astype(np.float32)),
        )
        return Day(rows_of, truth)


@dataclass
class Model:
    """What one night left.

    Attributes:
        fitted: the model.
        known: which ids it has been trained on.
        steps: of the optimizer, times the parameters that it changed.
        share: of the parameters that were trained.
        seconds: of the training.
    """

    fitted: dict[str, ModelArtifact]
    known: tuple[torch.Tensor, ...]
    steps: float
    share: float
    seconds: float


def trained(
    rows: Batch, facts: TrainFacts, method: SelfConfidence, start: StartingModels | None
) -> tuple[dict[str, ModelArtifact], float, float, float]:
    """The model, its steps times parameters, the share of the parameters, and the seconds."""
    size = Trainer.of([method], facts, torch.device("cpu"), start).update.size
    whole = Trainer.of([method], facts, torch.device("cpu")).update.size
    none = rows.rows(torch.arange(1))
    begin = time.process_time()
    models, _ = fit_in_memory((method,), facts, rows, none, batch_size=BATCH, start=start)
    seconds = time.process_time() - begin
    steps = -(-len(rows) // BATCH) * method.training.epochs
    return models, float(steps * size), size / whole, seconds


def night(rows: Batch, world: World, before: Model | None = None, update: Extent = "all") -> Model:
    """Trains on rows, from the model of the night before if there is one."""
    method = method_of(EPOCHS if before is None else FEWER, RATES[update])
    known, start = occurring(rows.ids, (world.ids,)), None
    facts = facts_of(rows, (world.ids,), SEED, method.learns())
    if before is not None:
        new = new_ids(known, before.known)
        start = StartingModels(before.fitted, "yesterday", update, new_ids=new)
        (fitted,) = before.fitted.values()
        facts = facts.model_copy(update={"quantiles": fitted.read_facts().quantiles})
        known = tuple(a | b for a, b in zip(known, before.known, strict=True))
    models, steps, share, seconds = trained(rows, facts, method, start)
    return Model(models, known, steps, share, seconds)


def method_of(epochs: int, rate: float) -> SelfConfidence:
    """The method, whose network predicts the label."""
    return SelfConfidence.model_validate(
        {"training": {"members": 4, "epochs": epochs, "learning_rate": rate}}
    )


@torch.inference_mode()
def loss(model: Model, day: Day) -> float:
    """Log loss on a day under its true probabilities."""
    (fitted,) = (artifact.model() for artifact in model.fitted.values())
    outputs = EnsembleOutputs(day.rows)
    p = fitted.mean_unseen(outputs, outputs.probability).double().clamp(1e-6, 1 - 1e-6).numpy()
    return float(-(day.truth * np.log(p) + (1 - day.truth) * np.log(1 - p)).mean())


def ten_days(seed: int = SEED, turn: float = TURN) -> dict[str, dict[str, list[float]]]:
    """Losses and costs of each night.

    Returns:
        By kind: ``anew``; ``yesterday``, the model trained anew the night before; ``first``, never
        trained again; each update, night after night; and ``<update>, one night``.
    """
    world, found = World(seed, turn), defaultdict[str, Nights](Nights)
    days = [world.day(number) for number in range(-WINDOW, DAYS + 1)]

    def window(number: int) -> Batch:
        return Batch.concat([day.rows for day in days[number : number + WINDOW]])

    first = anew = night(window(0), world)
    current: dict[Extent, Model] = dict.fromkeys(RATES, first)
    for number in range(1, DAYS + 1):
        rows, served, yesterday = window(number), days[number + WINDOW], anew
        anew = night(rows, world)
        for name, model in {"first": first, "yesterday": yesterday, "anew": anew}.items():
            found[name].add(model, served)
        for update, before in current.items():
            current[update] = night(rows, world, before, update)
            found[update].add(current[update], served)
            found[f"{update}, one night"].add(night(rows, world, yesterday, update), served)
    return {name: nights.values for name, nights in found.items()}


class Nights:
    """What is measured of each night."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {k: [] for k in ("loss", "steps", "share", "seconds")}

    def add(self, model: Model, served: Day) -> None:
        """Adds a night."""
        numbers = {"loss": loss(model, served), "steps": model.steps}
        numbers |= {"share": model.share, "seconds": model.seconds}
        for name, value in numbers.items():
            self.values[name].append(value)


def gained(found: Mapping[str, Mapping[str, list[float]]], name: str, base: str) -> float:
    """The mean gain of a kind over another model, as a share of that of training anew."""
    losses = {kind: np.mean(found[kind]["loss"]) for kind in (base, name, "anew")}
    return float((losses[base] - losses[name]) / (losses[base] - losses["anew"]))


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """For each kind the share of the gain, and of the cost."""
    torch.set_num_threads(1)
    found = ten_days()
    figures = []
    for name in RATES:
        nights, own = f"{name}, one night", found[name]
        cost = {k: sum(own[k]) / sum(found["anew"][k]) for k in ("steps", "seconds")}
        detail = {
            "over the first model": round(gained(found, name, "first"), 3),
            "one night": round(gained(found, nights, "yesterday"), 3),
            "parameters": round(float(np.mean(own["share"])), 4),
            "steps x parameters": round(cost["steps"], 4),
            "loss": {k: round(float(np.mean(v["loss"])), 5) for k, v in found.items()},
        }
        gain = gained(found, name, "yesterday")
        figures += [
            Figure(f"warm start, {name}: gain / that of training anew", gain, ">= 0.8", detail),
            Figure(f"warm start, {name}: seconds / those anew", cost["seconds"], "<= 0.2"),
        ]
    return figures
