"""The rows of a world in memory, in the forms that methods and rankers need."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reweight.benchmark.fits import Fit, facts_of
from reweight.benchmark.ranking import (
    InMemory,
    Labelled,
    of_positions,
    probabilities,
    weights_of,
)
from reweight.core.sequences import SEQUENCE, SequenceShape
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.training import TrainFacts
from reweight.score_weights.policy import Weighting
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression

Array = NDArray[np.float64]
# Columns that methods may read besides features, ids and label; `segment` becomes a number.
EXTRA = ("position", "propensity", "value", "target", "mature", "elapsed", "delay", "undone")
HELD_OUT = ("validation", "test")


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
            for split in ("train", *HELD_OUT)
        }
        self.parts = {
            split: table.drop_columns(lists).to_pandas() for split, table in tables.items()
        }
        self.held_out = pd.concat([self.parts[split] for split in HELD_OUT], ignore_index=True)
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
        segments = self.parts["train"]["segment"].to_numpy()
        return weights_of(fit.method, importance, policy, segments)

    def predicted(
        self,
        weights: Array | None,
        labels: Array | None,
        ranker: InMemory,
        *,
        batch_size: int = 1024,
        seed: int = 0,
    ) -> Array:
        """Predictions of the held-out rows by a ranker.

        Args:
            weights: weights of the training rows; None for equal weights.
            labels: p(y = 1) of the training rows, each of which then becomes two rows as in the
                pipeline; None for the recorded labels.
            ranker: the ranker.
            batch_size: rows per training step, where it takes steps.
            seed: the run's seed.
        """
        x, rows = self.matrices["train"], len(self.parts["train"])
        weights = np.ones(rows) if weights is None else weights
        y = self.parts["train"]["label"].to_numpy(np.float64)
        if labels is not None:
            doubled = np.concatenate([weights * labels, weights * (1 - labels)])
            used = np.flatnonzero(doubled > 0)
            x, y, weights = x[used % rows], (used < rows).astype(np.float64), doubled[used]
        return probabilities(
            ranker,
            Labelled(x, y, weights),
            [self._labelled(split) for split in HELD_OUT],
            self.cardinalities,
            batch_size=batch_size,
            seed=seed,
        )

    def predicted_at_first(self, ranker: LogisticRegression) -> Array:
        """Predictions of the held-out rows at position 1, by a ranker that knows positions."""
        tables = []
        for split in ("train", *HELD_OUT):
            rows, position = self._labelled(split), self.parts[split]["position"]
            place = position if split == "train" else pd.Series(1.0, index=position.index)
            tables.append(replace(rows, x=np.concatenate([rows.x, of_positions(place)], axis=1)))
        return probabilities(ranker, tables[0], tables[1:], (), batch_size=0, seed=0)

    def _labelled(self, split: str) -> Labelled:
        """The rows of a split with their recorded labels and equal weights."""
        label = self.parts[split]["label"].to_numpy(np.float64)
        return Labelled(self.matrices[split], label, np.ones(len(label)))

    def _batch(self, table: pa.Table) -> Batch:
        number = pc.add(pc.fill_null(pc.index_in(table["segment"], pa.array(self.segments)), -1), 1)
        names = ("sample_id", "features", "ids", "label", *EXTRA, *(SEQUENCE if self.shape else ()))
        columns = {name: table[name] for name in names} | {"segment": number}
        return Batch.from_arrow(columns, {name: name for name in (*EXTRA, "segment")})

    def _matrix(self, table: pa.Table) -> Array:
        ids = _stacked(table["ids"], np.int64)
        hot = [np.eye(n)[ids[:, f]] for f, n in enumerate(self.cardinalities)]
        return np.concatenate([_stacked(table["features"], np.float64), *hot], axis=1)


def _stacked(column: pa.ChunkedArray, kind: type) -> NDArray[Any]:
    """A column of lists of equal length as a matrix [N, length]."""
    flat = column.combine_chunks().flatten()
    return np.asarray(flat, dtype=kind).reshape(len(column), len(flat) // max(1, len(column)))
