"""Small tables of numbers and categories, as the benchmark takes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reweight.core.errors import SourceError
from reweight.core.section import Folder, RunId, SchemaName, Section

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


class PublicTable(Section):
    """A table in a file.

    Attributes:
        path: a csv, tsv or parquet file; csv and tsv may be compressed (.gz).
        label: the column that says what a row is.
        positive: value of it that makes a row positive; 1 by default.
        below_mean: whether a row is positive when the label, a number, is below its mean instead.
        numeric: numeric columns; None takes all but the label, nominal and dropped ones.
        nominal: columns of categories.
        drop: columns to leave out.
        drop_file: a text file with the names of further columns to leave out, one a line.
        balance: draw as many rows of the larger class as the smaller one has.
    """

    path: str
    label: str
    positive: int | float | str = 1
    below_mean: bool = False
    numeric: tuple[str, ...] | None = None
    nominal: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    drop_file: str | None = None
    balance: bool = False


class SampleTable(Section):
    """The samples of a finished run, with the labels that it took to be true.

    Attributes:
        root: of the run.
        run_id: of the run.
        catalog: of the run.
        rows: how many are taken, by a hash of their ids.
    """

    root: Folder
    run_id: RunId
    catalog: SchemaName | None = None
    rows: int = 50_000


@dataclass(frozen=True)
class Data:
    """N rows whose labels are taken to be true.

    Attributes:
        features: standardised, float32 [N, D].
        ids: codes of categories, int64 [N, F].
        cardinalities: codes of each of the F columns are below these.
        label: 0 or 1, float32 [N].
    """

    features: NDArray[np.float32]
    ids: NDArray[np.int64]
    cardinalities: tuple[int, ...]
    label: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[Any], ids: NDArray[Any], label: NDArray[Any]) -> "Data":
        """Standardises over all rows; a constant column becomes 0."""
        x = features.astype(np.float64)
        spread = x.std(axis=0)
        x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        codes = ids.astype(np.int64)
        sizes = tuple((codes.max(axis=0) + 1).tolist()) if codes.size else ()
        return cls(x.astype(np.float32), codes, sizes, label.astype(np.float32))

    def __len__(self) -> int:
        """N."""
        return len(self.label)

    def rows(self, chosen: NDArray[np.int64]) -> "Data":
        """The rows at these places."""
        return Data(self.features[chosen], self.ids[chosen], self.cardinalities, self.label[chosen])

    def labelled(self, label: NDArray[np.float32]) -> "Data":
        """The same rows with other labels."""
        return Data(self.features, self.ids, self.cardinalities, label)

    def matrix(self) -> NDArray[np.float32]:
        """Features, and categories one-hot, for models that know only numbers."""
        hot = [
            np.eye(n, dtype=np.float32)[self.ids[:, f]] for f, n in enumerate(self.cardinalities)
        ]
        return np.concatenate([self.features, *hot], axis=1)


def read_table(name: str, table: PublicTable) -> Data:
    """Reads a table.

    Args:
        name: of the table, for errors.
        table: where it is, and what of it is taken.

    Raises:
        SourceError: no such file or column, a label of one class, or a number that is missing.
    """
    rows = _frame(name, table)
    label = rows[table.label]
    positive = label < label.mean() if table.below_mean else label == table.positive
    if positive.nunique() < 2:
        rule = "values below the mean" if table.below_mean else f"the value {table.positive!r}"
        got = f"'{table.label}' has {rule} in {int(positive.sum())} of {len(rows)} rows"
        raise _wrong(name, table, "a label with both classes", got)
    if table.balance:
        kept = _balanced(positive.to_numpy())
        rows, positive = rows.iloc[kept], positive.iloc[kept]
    numeric = table.numeric if table.numeric is not None else _others(table, rows)
    features = rows[list(numeric)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(features).all():
        bad = [
            n for n, ok in zip(numeric, np.isfinite(features).all(axis=0), strict=True) if not ok
        ]
        raise _wrong(name, table, "finite numbers in numeric columns", f"others in {bad[:5]}")
    codes = [pd.factorize(rows[column], sort=True)[0] + 1 for column in table.nominal]
    ids = np.stack(codes, axis=1) if codes else np.empty((len(rows), 0), dtype=np.int64)
    return Data.of(features, ids, positive.to_numpy())


def _frame(name: str, table: PublicTable) -> pd.DataFrame:
    path = Path(table.path)
    if not path.is_file():
        raise _wrong(name, table, "a file", "there is none; set data_dir, or leave the table out")
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind == ".parquet":
        rows = pd.read_parquet(path)
    elif kind in _SEPARATORS:
        rows = pd.read_csv(path, sep=_SEPARATORS[kind])
    else:
        raise _wrong(
            name, table, "a name that ends in csv, tsv or parquet, or one of them .gz", kind
        )
    named = {table.label, *(table.numeric or ()), *table.nominal, *table.drop}
    if missing := sorted(named - set(rows.columns)):
        raise _wrong(name, table, f"columns {missing[:5]}", str(list(rows.columns)[:20]))
    return rows


def _others(table: PublicTable, rows: pd.DataFrame) -> list[str]:
    taken = {table.label, *table.nominal, *_dropped(table)}
    return [column for column in rows.columns if column not in taken]


def _dropped(table: PublicTable) -> list[str]:
    named = Path(table.drop_file).read_text().split() if table.drop_file else []
    return [*table.drop, *named]


def _balanced(positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows in their order, of the larger class as many at random as the smaller one has."""
    sides = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    few = min(len(side) for side in sides)
    generator = np.random.default_rng(0)
    return np.sort(np.concatenate([generator.choice(side, few, replace=False) for side in sides]))


def _wrong(name: str, table: PublicTable, expected: str, got: str) -> SourceError:
    return SourceError(
        f"the table '{name}' of the benchmark cannot be read",
        expected=f"{expected} ({table.path})",
        got=got,
        fix=f"mend benchmark.tables.{name} in the config",
    )
