"""T3, the ranker task: a world's rankers on the weights of each method, and what judges say.

Everything is in memory: a world has twenty thousand to a million rows. Rankers (``ranking``) are
trained on the labels that the log recorded. Judges look at later rows. ``truth`` takes the labels
that an undistorted log would have recorded, for people only, since a ranker should not be judged by
what bots click.

Beside the methods there is what teams do without weights, ``position_as_feature``: the regression
also learns from log(position) and an indicator for each of the first 20 positions, and every
held-out row is scored as if it were shown at position 1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reweight.benchmark.conditions.judges import judges_of, masses
from reweight.benchmark.conditions.metrics_in_memory import largest_segments, values_in_memory
from reweight.benchmark.conditions.ranking import InMemory, of_positions, probabilities
from reweight.benchmark.conditions.wrong_labels import WRONG_LABELS, auroc
from reweight.benchmark.detection.protocol import ORACLE
from reweight.benchmark.fits import Fit, facts_of, fits, said
from reweight.core.baselines import BASELINE
from reweight.core.errors import ReweightError
from reweight.core.sequences import SEQUENCE, SequenceShape
from reweight.evaluate.comparison import measure
from reweight.evaluate.section import Evaluation
from reweight.evaluate.verdict import verdicts
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.training import TrainFacts
from reweight.score_weights.policy import Weighting, fit_policy, weight_in_memory
from reweight.score_weights.training_rows import MemoryRows
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression

Array = NDArray[np.float64]
Row = dict[str, Any]
# The arm whose ranker learns from the position; it is no method, since all its weights are 1.
POSITION_AS_FEATURE = "position_as_feature"
# Cost of a method: seconds to fit it on 1e6 rows, including all methods of the same training.
SECONDS = "fit_seconds_per_1e6"
# Columns that methods may read besides features, ids and label; `segment` becomes a number.
EXTRA = ("position", "propensity", "value", "target", "mature", "elapsed", "delay", "undone")
_HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class Sections:
    """The sections of the config that the task reads."""

    weighting: Weighting
    rankers: Sequence[InMemory]
    evaluation: Evaluation
    batch_size: int
    seed: int


def judged(
    rows: pa.Table,
    cardinalities: tuple[int, ...],
    methods: Sequence[ImportanceMethod],
    sections: Sections,
    shape: SequenceShape | None = None,
) -> Iterator[Row]:
    """Trains the rankers of one world on the weights of each method, and judges them.

    Args:
        rows: rows of the splits train, validation and test, with ``sample_id``, ``group_id``,
            ``segment``, ``split``, ``label`` (recorded), ``truth``, ``bot``, ``features``, ``ids``
            and the columns of ``EXTRA``; with a shape also those of the sequence.
        cardinalities: sizes of the id spaces.
        methods: the methods, including ``uniform``.
        sections: the sections of the config.
        shape: of the sequences; None if there are none.

    Yields:
        ``judge``, ``method``, ``name``, ``kind`` (``value``, ``difference`` to uniform,
        ``verdict``, ``cost`` or ``failed``), ``value``, ``low``, ``high``, ``reason``; and
        ``ranker``, if it is not the first one.
    """
    world = World(rows, cardinalities, shape)
    fit_by_method = {}
    for fit in fits(methods, world.rows_for(sections.seed), sections.batch_size):
        if fit.stored is None:
            yield failed(fit.method.name, fit.reason)
        else:
            fit_by_method[fit.method.name] = fit
            cost = 1e6 * fit.seconds / len(world.parts["train"])
            yield _row(fit.method.name, SECONDS, "cost", cost)
    for name in [
        n for n, fit in fit_by_method.items() if set(fit.method.combines()) - set(fit_by_method)
    ]:
        del fit_by_method[name]
        yield failed(name, "a method that it combines failed")
    importances, soft = world.scored({name: fit.stored for name, fit in fit_by_method.items()})
    weights: dict[str, Array] = {}
    for name, fit in fit_by_method.items():
        try:
            weights[name] = world.weights(fit, importances[name], sections.weighting)
            yield _row(name, "ess_share", "value", _ess_share(weights[name]))
            if (area := auroc(fit.method, importances[name], world.wrong)) is not None:
                yield _row(name, WRONG_LABELS, "value", area)
        except (ReweightError, ValueError) as error:
            yield failed(name, said(error))
    theta = propensities(fit_by_method.values())
    for number, ranker in enumerate(sections.rankers):
        for row in _ranked(world, ranker, weights, soft, theta, sections):
            yield row | ({"ranker": ranker.name} if number else {})


def _ranked(
    world: "World",
    ranker: InMemory,
    weights: Mapping[str, Array],
    soft: Mapping[str, Array],
    theta: Sequence[float] | None,
    sections: Sections,
) -> Iterator[Row]:
    """What judges say of one ranker, by method."""
    predicted = {}
    for name, method_weights in weights.items():
        try:
            predicted[name] = world.predicted(method_weights, soft.get(name), ranker, sections.seed)
        except (ReweightError, ValueError) as error:
            yield failed(name, said(error))
    predicted[ORACLE] = world.predicted(None, world.truth, ranker, sections.seed)
    if world.has_positions and isinstance(ranker, LogisticRegression):
        predicted[POSITION_AS_FEATURE] = world.predicted_at_first(ranker)
    yield from _judge_rows(world, predicted, theta, sections)


def propensities(fitted: Iterable[Fit]) -> list[float] | None:
    """theta of the first position model, as the pipeline's judge takes it; None without one."""
    for fit in fitted:
        if fit.stored is not None and fit.method.estimates_propensities:
            return fit.stored.model().propensities()
    return None


def _judge_rows(
    world: "World",
    predicted: Mapping[str, Array],
    theta: Sequence[float] | None,
    sections: Sections,
) -> Iterator[Row]:
    """What each judge measures and says of the rankers, on test rows."""
    evaluation, held_out = sections.evaluation, world.held_out
    judges = judges_of(held_out, theta)
    segments = largest_segments(held_out["segment"], evaluation)
    values = []
    for judge, positive in masses(held_out, judges, theta).items():
        counts = ~np.isnan(positive)
        rows = held_out.loc[counts, ["sample_id", "group_id", "segment", "split"]]
        mass = positive[counts]
        rows = rows.assign(judge=judge, positive=mass, negative=1 - mass)
        for method, p in predicted.items():
            method_rows = rows.assign(method=method, probability=p[counts])
            values.append(values_in_memory(method_rows, segments, evaluation, sections.seed))
    measured = measure(pd.concat(values), evaluation, BASELINE)
    for row in measured:
        if row["split"] == "test" and row["segment"] is None:
            numbers = (row[key] for key in ("value", "low", "high"))
            yield _row(row["method"], row["name"], row["kind"], *numbers, judge=row["judge"])
    # The oracle is not compared: it would make the correction for the number of methods stricter.
    compared = [row for row in measured if row["method"] != ORACLE]
    for judge, fact in verdicts(compared, judges, evaluation).items():
        for method, outcome in fact["test"].items():
            verdict_row = _row(method, "outcome", "verdict", outcome["difference"], judge=judge)
            yield verdict_row | {"reason": outcome["outcome"]}


class World:
    """The rows of a world, in the forms that methods and the ranker need.

    Attributes:
        parts: split -> its rows by ``sample_id``, without features and ids.
        held_out: the rows of validation, then those of test.
    """

    def __init__(
        self,
        rows: pa.Table,
        cardinalities: tuple[int, ...],
        shape: SequenceShape | None = None,
    ) -> None:
        self.cardinalities, self.shape = cardinalities, shape
        lists = ["features", "ids", *(SEQUENCE if shape else ())]
        tables = {
            split: rows.filter(pc.equal(rows["split"], split)).sort_by("sample_id")
            for split in ("train", *_HELD_OUT)
        }
        self.parts = {
            split: table.drop_columns(lists).to_pandas() for split, table in tables.items()
        }
        self.held_out = pd.concat([self.parts[split] for split in _HELD_OUT], ignore_index=True)
        counts = self.parts["train"]["segment"].value_counts()
        # As on Spark: largest first, ties by name.
        self.segments = tuple(sorted(counts.index, key=lambda s: (-counts[s], s)))
        self.matrices = {split: self._matrix(table) for split, table in tables.items()}
        # Built once, since every training of the world reads them.
        self.batches = {split: self._batch(tables[split]) for split in ("train", "validation")}

    def rows_for(self, seed: int) -> Any:
        """The function that gives ``fits`` the rows and facts.

        Args:
            seed: seed of the methods' random numbers.
        """

        def rows(group: Sequence[ImportanceMethod]) -> tuple[Batch, Batch, TrainFacts]:
            train, training = self.batches["train"], group[0].learns()
            facts = facts_of(train, self.cardinalities, seed, training, self.segments, self.shape)
            return train, self.batches["validation"], facts

        return rows

    @property
    def has_positions(self) -> bool:
        """Whether rows are at different positions."""
        return bool(self.parts["train"]["position"].nunique() > 1)

    @property
    def truth(self) -> Array:
        """True labels of the training rows, known to the oracle only, float64 [N]."""
        return np.asarray(self.parts["train"]["truth"], dtype=np.float64)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which recorded labels of the training rows are wrong, bool [N]."""
        return np.asarray(self.parts["train"]["label"] != self.truth)

    def scored(
        self, models: dict[str, ModelArtifact | None]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Importance of the training rows by each method, and soft labels, float64 [N]."""
        scorer = Scorer({name: model for name, model in models.items() if model is not None})
        scored = scorer.scored(self.batches["train"])
        importance, soft_labels = (
            {name: values.numpy().astype(np.float64) for name, values in part.items()}
            for part in (scored.importance, scored.soft_labels)
        )
        return importance, soft_labels

    def weights(self, fit: Fit, importance: Array, policy: Weighting) -> Array:
        """Weights of the training rows by a method, float64 [N].

        Args:
            fit: the fit of the method.
            importance: importance of the training rows, float64 [N].
            policy: the weight policy.
        """
        method, segments = fit.method, self.parts["train"]["segment"].to_numpy()
        rows = MemoryRows({method.name: importance}, segments)
        stats = fit_policy(rows, policy, [method])[method.name]
        weights = weight_in_memory(importance, policy, stats, segments)
        # As in the pipeline's ranker: regularisation uses the sum of raw importance.
        return weights * importance.mean() if method.keeps_scale else weights

    def predicted(
        self, weights: Array | None, labels: Array | None, ranker: InMemory, seed: int = 0
    ) -> Array:
        """Predictions of the held-out rows by a ranker.

        Args:
            weights: weights of the training rows; None for equal weights.
            labels: p(y = 1) of the training rows, each of which then becomes two rows as in the
                pipeline; None for the recorded labels.
            ranker: the ranker.
            seed: the run's seed.
        """
        x, rows = self.matrices["train"], len(self.parts["train"])
        weights = np.ones(rows) if weights is None else weights
        y = self.parts["train"]["label"].to_numpy(np.float64)
        if labels is not None:
            doubled = np.concatenate([weights * labels, weights * (1 - labels)])
            used = np.flatnonzero(doubled > 0)
            x, y, weights = x[used % rows], (used < rows).astype(np.float64), doubled[used]
        held_out = [self.matrices[split] for split in _HELD_OUT]
        return probabilities(ranker, x, y, weights, held_out, self.cardinalities, seed)

    def predicted_at_first(self, ranker: LogisticRegression) -> Array:
        """Predictions of the held-out rows at position 1, by a ranker that knows positions."""
        train = self.parts["train"]
        x = np.concatenate([self.matrices["train"], of_positions(train["position"])], axis=1)
        held_out = []
        for split in _HELD_OUT:
            first = pd.Series(1.0, index=self.parts[split].index)
            held_out.append(np.concatenate([self.matrices[split], of_positions(first)], axis=1))
        y = train["label"].to_numpy(np.float64)
        return probabilities(ranker, x, y, np.ones(len(y)), held_out, (), 0)

    def _batch(self, table: pa.Table) -> Batch:
        number = pc.add(pc.fill_null(pc.index_in(table["segment"], pa.array(self.segments)), -1), 1)
        names = ("sample_id", "features", "ids", "label", *EXTRA, *(SEQUENCE if self.shape else ()))
        columns = {name: table[name] for name in names} | {"segment": number}
        return Batch.from_arrow(columns, {name: name for name in (*EXTRA, "segment")})

    def _matrix(self, table: pa.Table) -> Array:
        ids = _stacked(table["ids"], np.int64)
        hot = [np.eye(n)[ids[:, f]] for f, n in enumerate(self.cardinalities)]
        return np.concatenate([_stacked(table["features"], np.float64), *hot], axis=1)


def _ess_share(weights: Array) -> float:
    """Effective sample size as a share of the rows; the mean of the weights need not be 1."""
    return float(weights.mean() ** 2 / (weights**2).mean())


def _stacked(column: pa.ChunkedArray, kind: type) -> NDArray[Any]:
    """A column of lists of equal length as a matrix [N, length]."""
    flat = column.combine_chunks().flatten()
    return np.asarray(flat, dtype=kind).reshape(len(column), len(flat) // max(1, len(column)))


def failed(method: str, reason: str | None) -> Row:
    """The row for a method that failed."""
    return _row(method, "failed", "failed", None) | {"reason": reason}


def _row(
    method: str,
    name: str,
    kind: str,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    judge: str | None = None,
) -> Row:
    key = {"judge": judge, "method": method, "name": name, "kind": kind}
    return key | {"value": value, "low": low, "high": high, "reason": None}
