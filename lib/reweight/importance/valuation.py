"""Methods that value each training row by the validation rows: references for small data.

A model is a table of (``sample_id``, value). One pass collects the rows of all ranks, sorts them by
id, so that neither their order nor the number of ranks matters, and values them in memory, in the
same way on every rank. A row that is not in the table (another split, a later day) gets the mean
value.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.base import ImportanceMethod, ImportanceModel, Polarity
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.membership import bits
from reweight.importance.training import TrainFacts


@dataclass(frozen=True)
class Valuation:
    """The rows to value, sorted by ``sample_id``.

    Attributes:
        train: N training rows.
        validation: V validation rows that judge them.
        facts: of the training rows.
    """

    train: Batch
    validation: Batch
    facts: TrainFacts

    def design(self) -> tuple[Tensor, Tensor]:
        """Features and one-hot ids of training and validation rows, float64 [N, P] and [V, P].

        Only ids that occur in training rows have a column.
        """
        batches = (self.train, self.validation)
        train, validation = ([batch.features.double()] for batch in batches)
        for field in range(self.train.ids.shape[1]):
            field_ids = torch.unique(self.train.ids[:, field])
            for batch, columns in zip(batches, (train, validation), strict=True):
                columns.append((batch.ids[:, field, None] == field_ids).double())
        return torch.cat(train, 1), torch.cat(validation, 1)


class ValuationMethod(ImportanceMethod, ABC):
    """Importance is the value of a training row, of either sign, so weights are based on ranks.

    The label matters when a row is valued, not when its value is looked up, so rows without a label
    can be scored.

    Attributes:
        instead: the method to use with more rows.
        max_rows: the most training rows that it accepts.
        valuation_rows: the most validation rows that it uses, chosen by a hash.
    """

    polarity: ClassVar[Polarity] = "valuable"
    signed: ClassVar[bool] = True
    cost: ClassVar[str] = "0: a lookup"
    passes: ClassVar[int] = 1
    instead: ClassVar[str]

    max_rows: int = Field(default=2000, ge=1)
    valuation_rows: int = Field(default=1000, ge=1)

    @abstractmethod
    def values(self, rows: Valuation) -> Tensor:
        """The value of each training row, [N], which depends only on the rows and the facts."""

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """An empty table.

        Raises:
            TrainingError: more training rows than ``max_rows``.
        """
        if facts.rows > self.max_rows:
            raise TrainingError(
                f"'{self.name}' is for small data only",
                expected=f"at most {self.max_rows:,} training rows (max_rows)",
                got=f"{facts.rows:,}",
                fix=f"use {self.instead} instead, which scales with the rows as training does",
            )
        return ValuationModel(self, facts)


class ValuationModel(ImportanceModel):
    """The table: ``sample_id`` int64 [N], ascending, and ``value`` float32 [N]."""

    sample_id: Tensor
    value: Tensor

    def __init__(self, method: ValuationMethod, facts: TrainFacts) -> None:
        super().__init__()
        self.method, self.facts = method, facts
        self.register_buffer("sample_id", torch.empty(0, dtype=torch.int64))
        self.register_buffer("value", torch.empty(0))
        self._seen: dict[str, list[Batch]] = {"train": [], "validation": []}

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The value of each row, or the mean value; float32 [B]."""
        ids = outputs.batch.sample_id
        if not len(self.value):
            return torch.zeros(len(ids), device=ids.device)
        index = torch.searchsorted(self.sample_id, ids).clamp(max=len(self.value) - 1)
        in_table = self.sample_id[index] == ids
        return torch.where(in_table, self.value[index], self.value.mean())

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Collects the rows of the batch."""
        self._seen[split].append(outputs.batch.to(torch.device("cpu")))

    def finish(self, number: int) -> None:
        """Values the rows of all ranks.

        Raises:
            TrainingError: a split has no rows, or some values are not finite.
        """
        rows = self._gathered()
        values = self.method.values(rows)
        if invalid := int((~values.isfinite()).sum()):
            raise TrainingError(
                f"the values of '{self.method.name}' are not finite",
                expected="a finite value for each training row",
                got=f"{invalid} of {len(values)} rows with NaN or infinity",
                fix="scale the features, or lower its learning rate",
            )
        self.sample_id, self.value = rows.train.sample_id, values.detach().float()
        self._seen = {"train": [], "validation": []}

    def _gathered(self) -> Valuation:
        parts = [self._seen]
        if dist.is_initialized():
            parts = [self._seen for _ in range(dist.get_world_size())]
            dist.all_gather_object(parts, self._seen)
        rows = {split: [batch for part in parts for batch in part[split]] for split in self._seen}
        if empty := [split for split, batches in rows.items() if not batches]:
            raise TrainingError(
                f"'{self.method.name}' has no rows to value, or none to judge them",
                expected="training rows, and validation rows that judge them",
                got=f"no rows in the split(s) {empty}",
                fix="give the split a share of the samples (splits)",
            )
        train, validation = (_sorted(Batch.concat(batches)) for batches in rows.values())
        # The rows with the lowest hashes: the same ones in whatever order they arrived.
        by_hash = bits(validation.sample_id, self.facts.seed).argsort()
        chosen = by_hash[: self.method.valuation_rows].sort().values
        return Valuation(train, validation.rows(chosen), self.facts)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        # The table takes its length from the saved one.
        for name in ("sample_id", "value"):
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _sorted(batch: Batch) -> Batch:
    return batch.rows(batch.sample_id.argsort())
