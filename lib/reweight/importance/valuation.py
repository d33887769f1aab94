"""Methods that value the training rows themselves, on validation rows: references for small data.

A model is a table of (``sample_id``, value): one pass collects the rows of all ranks, sorts them by
id, so that neither order nor ranks matter, and values them in memory on every rank alike. A row
that is not in the table (another split, a later day) is worth the mean value.
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
    """What there is to value, sorted by ``sample_id``.

    Attributes:
        train: N rows.
        validation: V rows that judge them.
        facts: of the training rows.
    """

    train: Batch
    validation: Batch
    facts: TrainFacts

    def design(self) -> tuple[Tensor, Tensor]:
        """Features and one-hot ids of both, float64 [N, P] and [V, P].

        Only ids of training rows have a column.
        """
        both = (self.train, self.validation)
        train, validation = ([batch.features.double()] for batch in both)
        for field in range(self.train.ids.shape[1]):
            known = torch.unique(self.train.ids[:, field])
            for batch, columns in zip(both, (train, validation), strict=True):
                columns.append((batch.ids[:, field, None] == known).double())
        return torch.cat(train, 1), torch.cat(validation, 1)


class ValuationMethod(ImportanceMethod, ABC):
    """Importance is the value of a training row; of any sign, so that weights are made of ranks.

    The label matters when a row is valued and not when it is looked up, so rows without one can be
    scored.

    Attributes:
        instead: the method for more rows.
        max_rows: training rows above which it refuses.
        valuation_rows: validation rows that are used at most, chosen by a hash.
    """

    polarity: ClassVar[Polarity] = "valuable"
    signed: ClassVar[bool] = True
    cost: ClassVar[str] = "0: a look-up"
    passes: ClassVar[int] = 1
    instead: ClassVar[str]

    max_rows: int = Field(default=2000, ge=1)
    valuation_rows: int = Field(default=1000, ge=1)

    @abstractmethod
    def values(self, rows: Valuation) -> Tensor:
        """The value of each training row, [N]; the same for the same rows and facts."""

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """An empty table.

        Raises:
            TrainingError: more training rows than ``max_rows``.
        """
        if facts.rows > self.max_rows:
            raise TrainingError(
                f"'{self.name}' is for small data",
                expected=f"at most {self.max_rows:,} training rows (max_rows)",
                got=f"{facts.rows:,}",
                fix=f"use {self.instead} instead, which grows with the rows as training does",
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
        wanted = outputs.batch.sample_id
        if not len(self.value):
            return torch.zeros(len(wanted), device=wanted.device)
        place = torch.searchsorted(self.sample_id, wanted).clamp(max=len(self.value) - 1)
        known = self.sample_id[place] == wanted
        return torch.where(known, self.value[place], self.value.mean())

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Collects the rows."""
        self._seen[split].append(outputs.batch.to(torch.device("cpu")))

    def finish(self, number: int) -> None:
        """Values the rows of all ranks.

        Raises:
            TrainingError: no rows to value on, or values that are not finite.
        """
        rows = self._gathered()
        values = self.method.values(rows)
        if bad := int((~values.isfinite()).sum()):
            raise TrainingError(
                f"the values of '{self.method.name}' are not finite",
                expected="a finite value for each training row",
                got=f"{bad} of {len(values)} rows with NaN or infinity",
                fix="scale the features, or lower its learning rate",
            )
        self.sample_id, self.value = rows.train.sample_id, values.detach().float()
        self._seen = {"train": [], "validation": []}

    def _gathered(self) -> Valuation:
        parts = [self._seen]
        if dist.is_initialized():
            parts = [self._seen for _ in range(dist.get_world_size())]
            dist.all_gather_object(parts, self._seen)
        found = {split: [batch for part in parts for batch in part[split]] for split in self._seen}
        if empty := [split for split, batches in found.items() if not batches]:
            raise TrainingError(
                f"'{self.method.name}' has no rows to look at",
                expected="training rows, and validation rows that judge them",
                got=f"no rows of the split(s) {empty}",
                fix="give the split a share of the samples (splits)",
            )
        train, validation = (_sorted(Batch.concat(batches)) for batches in found.values())
        # The rows of the lowest hashes: the same ones however they came.
        drawn = bits(validation.sample_id, self.facts.seed).argsort()
        chosen = drawn[: self.method.valuation_rows].sort().values
        return Valuation(train, validation.rows(chosen), self.facts)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        # The table is as long as what was stored.
        for name in ("sample_id", "value"):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _sorted(batch: Batch) -> Batch:
    return batch.rows(batch.sample_id.argsort())
