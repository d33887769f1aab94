"""T3, the ranker task: a world's ranker on the weights of each method, judged on the truth.

Everything is in memory: a world has about ten thousand rows. The ranker is scikit-learn's logistic
regression, sum_i w_i l_i + |b|^2 / (2 C) with w of mean 1, which has the same minimum as Spark's at
r = 1 / (C sum w). It is trained on the labels that the log recorded, and judged on later rows of
people with the labels that an undistorted log would have recorded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from reweight.benchmark.conditions.metrics_in_memory import measured
from reweight.benchmark.detection.protocol import ORACLE
from reweight.benchmark.fits import Fit, facts_of, fits, said
from reweight.core.baselines import BASELINE
from reweight.core.errors import ReweightError
from reweight.evaluate.section import Evaluation
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import TrainFacts
from reweight.score_weights.policy import Weighting, fit_policy, weight_in_memory
from reweight.score_weights.training_rows import MemoryRows
from reweight.train_ranker.rankers.logistic_regression import Ranking

Array = NDArray[np.float64]
Row = dict[str, Any]
# Cost of a method: seconds to fit it on 1e6 rows, including all methods of the same training.
SECONDS = "fit_seconds_per_1e6"
_NUMBERS = ("value", "low", "high")
# Columns that methods may read besides features, ids and label; `segment` becomes a number.
EXTRA = ("position", "propensity", "value", "target", "mature", "elapsed", "delay")


@dataclass(frozen=True)
class Sections:
    """The sections of the config that the task reads."""

    weighting: Weighting
    ranking: Ranking
    evaluation: Evaluation
    batch_size: int
    seed: int


def judged(
    rows: pd.DataFrame,
    cardinalities: tuple[int, ...],
    methods: Sequence[ImportanceMethod],
    sections: Sections,
) -> Iterator[Row]:
    """Trains the ranker of one world on the weights of each method, and judges it on the truth.

    Args:
        rows: rows of the splits train, validation and test, with ``sample_id``, ``group_id``,
            ``segment``, ``split``, ``label`` (recorded), ``truth``, ``bot``, ``features``, ``ids``
            and the columns of ``EXTRA``.
        cardinalities: sizes of the id spaces.
        methods: the methods, including ``uniform``.
        sections: the sections of the config.

    Yields:
        ``method``, ``name``, ``kind`` (``value``, ``difference`` to uniform, ``cost`` or
        ``failed``), ``value``, ``low``, ``high``, ``reason``.
    """
    parts = {str(split): part.sort_values("sample_id") for split, part in rows.groupby("split")}
    # Bots stay in the log, but a ranker should not be judged by what bots click.
    parts["test"] = parts["test"][~parts["test"]["bot"].to_numpy(bool)]
    world = World(parts, cardinalities)
    predictions_by_method, fit_by_method = {}, {}
    for fit in fits(methods, world.rows_for(sections.seed), sections.batch_size):
        if fit.stored is None:
            yield failed(fit.method.name, fit.reason)
        else:
            fit_by_method[fit.method.name] = fit
            cost = 1e6 * fit.seconds / len(parts["train"])
            yield _row(fit.method.name, SECONDS, "cost", cost)
    for name in [
        n for n, fit in fit_by_method.items() if set(fit.method.combines()) - set(fit_by_method)
    ]:
        del fit_by_method[name]
        yield failed(name, "a method that it combines failed")
    importances, soft = world.scored({name: fit.stored for name, fit in fit_by_method.items()})
    for name, fit in fit_by_method.items():
        try:
            weights = world.weights(fit, importances[name], sections.weighting)
            predictions_by_method[name] = world.predicted(
                weights, soft.get(name), sections.ranking.C
            )
            yield _row(name, "ess_share", "value", _ess_share(weights))
        except (ReweightError, ValueError) as error:
            yield failed(name, said(error))
    predictions_by_method[ORACLE] = world.predicted(None, world.truth, sections.ranking.C)
    predictions = pd.concat(
        [frame.assign(method=name) for name, frame in predictions_by_method.items()]
    )
    for row in measured(predictions, sections.evaluation, BASELINE, sections.seed):
        if row["split"] == "test" and row["segment"] is None:
            yield _row(row["method"], row["name"], row["kind"], *[row[k] for k in _NUMBERS])


class World:
    """The rows of a world, in the forms that methods and the ranker need."""

    def __init__(self, parts: dict[str, pd.DataFrame], cardinalities: tuple[int, ...]) -> None:
        self.parts, self.cardinalities = parts, cardinalities
        counts = parts["train"]["segment"].value_counts()
        # As on Spark: largest first, ties by name.
        self.segments = tuple(sorted(counts.index, key=lambda s: (-counts[s], s)))
        self.matrices = {split: self._matrix(part) for split, part in parts.items()}
        # Built once, since every training of the world reads them.
        self.batches = {split: self._batch(parts[split]) for split in ("train", "validation")}

    def rows_for(self, seed: int) -> Any:
        """The function that gives ``fits`` the rows and facts.

        Args:
            seed: seed of the methods' random numbers.
        """

        def rows(group: Sequence[ImportanceMethod]) -> tuple[Batch, Batch, TrainFacts]:
            train, training = self.batches["train"], group[0].learns()
            facts = facts_of(train, self.cardinalities, seed, training, self.segments)
            return train, self.batches["validation"], facts

        return rows

    @property
    def truth(self) -> Array:
        """True labels of the training rows, known to the oracle only, float64 [N]."""
        return self.parts["train"]["truth"].to_numpy(np.float64)

    def scored(
        self, models: dict[str, ModelArtifact | None]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Importance of the training rows by each method, and soft labels, float64 [N]."""
        scorer = Scorer({name: model for name, model in models.items() if model is not None})
        outputs = EnsembleOutputs(self.batches["train"])
        importance, labels = scorer(outputs.batch, outputs), scorer.soft_labels(outputs)
        return tuple(
            {name: values.numpy().astype(np.float64) for name, values in by_method.items()}
            for by_method in (importance, labels)
        )  # type: ignore[return-value]

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

    def predicted(self, weights: Array | None, labels: Array | None, C: float) -> pd.DataFrame:  # noqa: N803
        """Predictions of validation and test rows by a ranker.

        Args:
            weights: weights of the training rows; None for equal weights.
            labels: p(y = 1) of the training rows, each of which then becomes two rows as in the
                pipeline; None for the recorded labels.
            C: inverse strength of regularisation.
        """
        from sklearn.linear_model import LogisticRegression

        x, rows = self.matrices["train"], len(self.parts["train"])
        weights = np.ones(rows) if weights is None else weights
        y = self.parts["train"]["label"].to_numpy(np.float64)
        if labels is not None:
            x, weights = (
                np.concatenate([x, x]),
                np.concatenate([weights * labels, weights * (1 - labels)]),
            )
            y = np.repeat([1.0, 0.0], rows)
            x, y, weights = x[weights > 0], y[weights > 0], weights[weights > 0]
        model = LogisticRegression(C=C, solver="newton-cholesky", max_iter=200, tol=1e-8)
        model.fit(x, y, sample_weight=weights)
        frames = []
        for split, label_column in (("validation", "label"), ("test", "truth")):
            part = self.parts[split]
            p = model.predict_proba(self.matrices[split])[:, 1]
            frame = part[["sample_id", "group_id", "segment", "split"]]
            frames.append(frame.assign(label=part[label_column].to_numpy(float), probability=p))
        return pd.concat(frames)

    def _batch(self, part: pd.DataFrame) -> Batch:
        number_of = {name: i + 1 for i, name in enumerate(self.segments)}
        part = part.assign(segment=part["segment"].map(number_of).fillna(0))
        names = ("sample_id", "features", "ids", "label", *EXTRA, "segment")
        columns = {name: pa.array(part[name]) for name in names}
        return Batch.from_arrow(columns, {name: name for name in (*EXTRA, "segment")})

    def _matrix(self, part: pd.DataFrame) -> Array:
        ids = _stacked(part["ids"], np.int64)
        hot = [np.eye(n)[ids[:, f]] for f, n in enumerate(self.cardinalities)]
        return np.concatenate([_stacked(part["features"], np.float64), *hot], axis=1)


def _ess_share(weights: Array) -> float:
    """Effective sample size as a share of the rows; the mean of the weights need not be 1."""
    return float(weights.mean() ** 2 / (weights**2).mean())


def _stacked(column: "pd.Series[Any]", kind: type) -> NDArray[Any]:
    return np.array(column.tolist(), dtype=kind).reshape(len(column), -1)


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
) -> Row:
    numbers = {"value": value, "low": low, "high": high}
    return {"method": method, "name": name, "kind": kind, **numbers, "reason": None}
