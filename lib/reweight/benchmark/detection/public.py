"""Small tables of numbers and categories for the benchmark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reweight.core.errors import SourceError
from reweight.core.section import Folder, Place, RunId, SchemaName, Section, Text

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


class PublicTable(Section):
    """A table in a file.

    Attributes:
        path: a csv, tsv or parquet file; csv and tsv may be compressed (.gz).
        label: the label column.
        positive: value of the label that makes a row positive.
        below_mean: makes a row positive if the label, a number, is below its mean instead.
        numeric: numeric columns; None takes all but the label, nominal and dropped ones.
        nominal: categorical columns.
        drop: columns to leave out.
        drop_file: a text file with the names of more columns to leave out, one per line.
        balance: samples the larger class down to the size of the smaller one.
    """

    path: Place
    label: Text
    positive: int | float | str = 1
    below_mean: bool = False
    numeric: tuple[Text, ...] | None = None
    nominal: tuple[Text, ...] = ()
    drop: tuple[Text, ...] = ()
    drop_file: Place | None = None
    balance: bool = False


class SampleTable(Section):
    """The samples of a finished run, whose labels are taken to be true.

    Attributes:
        root: root of the run.
        run_id: id of the run.
        catalog: catalog of the run.
        rows: number of rows, chosen by a hash of their ids.
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
        cardinalities: for each of the F columns, an upper bound of its codes (exclusive).
        label: 0 or 1, float32 [N].
    """

    features: NDArray[np.float32]
    ids: NDArray[np.int64]
    cardinalities: tuple[int, ...]
    label: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[Any], ids: NDArray[Any], label: NDArray[Any]) -> "Data":
        """Data with features standardised over all rows; a constant column becomes 0."""
        x = features.astype(np.float64)
        spread = x.std(axis=0)
        x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        codes = ids.astype(np.int64)
        sizes = tuple((codes.max(axis=0) + 1).tolist()) if codes.size else ()
        return cls(x.astype(np.float32), codes, sizes, label.astype(np.float32))

    def __len__(self) -> int:
        """The number of rows, N."""
        return len(self.label)

    def rows(self, chosen: NDArray[np.int64]) -> "Data":
        """The rows at these indices."""
        return Data(self.features[chosen], self.ids[chosen], self.cardinalities, self.label[chosen])

    def labelled(self, label: NDArray[np.float32]) -> "Data":
        """The same rows with other labels."""
        return Data(self.features, self.ids, self.cardinalities, label)

    def matrix(self) -> NDArray[np.float32]:
        """Features, and categories one-hot, for models that only take numbers."""
        hot = [
            np.eye(n, dtype=np.float32)[self.ids[:, f]] for f, n in enumerate(self.cardinalities)
        ]
        return np.concatenate([self.features, *hot], axis=1)


def read_table(name: str, table: PublicTable) -> Data:
    """Reads a table.

    Args:
        name: name of the table, for errors.
        table: where the table is, and which columns are used.

    Raises:
        SourceError: a missing file, column, label or number, or a label with only one class.
    """
    rows = _frame(name, table)
    positive = _positive(name, table, rows[table.label])
    if table.balance:
        balanced = _balanced(positive.to_numpy())
        rows, positive = rows.iloc[balanced], positive.iloc[balanced]
    numeric = table.numeric if table.numeric is not None else _other_columns(table, rows)
    features = rows[list(numeric)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(features).all():
        bad = [
            n for n, ok in zip(numeric, np.isfinite(features).all(axis=0), strict=True) if not ok
        ]
        got = f"other values in {bad[:5]}"
        raise _wrong(name, table, "finite numbers in numeric columns", got)
    codes = [pd.factorize(rows[column], sort=True)[0] + 1 for column in table.nominal]
    ids = np.stack(codes, axis=1) if codes else np.empty((len(rows), 0), dtype=np.int64)
    return Data.of(features, ids, positive.to_numpy())


def _positive(name: str, table: PublicTable, label: "pd.Series[Any]") -> "pd.Series[bool]":
    """Which rows are positive."""
    if table.below_mean:
        label = pd.to_numeric(label, errors="coerce").replace([np.inf, -np.inf], np.nan)
    if missing := int(label.isna().sum()):
        kind = "finite number" if table.below_mean else "label"
        got = f"'{table.label}' has none in {missing} of {len(label)} rows"
        raise _wrong(name, table, f"a {kind} in every row", got)
    positive = label < label.mean() if table.below_mean else label == table.positive
    if positive.nunique() < 2:
        rule = "values below the mean" if table.below_mean else f"the value {table.positive!r}"
        got = f"'{table.label}' has {rule} in {int(positive.sum())} of {len(label)} rows"
        raise _wrong(name, table, "a label with both classes", got)
    return positive


def _frame(name: str, table: PublicTable) -> pd.DataFrame:
    path = Path(table.path)
    if not path.is_file():
        raise _wrong(name, table, "a file", "no such file")
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind == ".parquet":
        rows = pd.read_parquet(path)
    elif kind in _SEPARATORS:
        rows = pd.read_csv(path, sep=_SEPARATORS[kind])
    else:
        raise _wrong(
            name,
            table,
            "a file name that ends in csv, tsv or parquet, optionally followed by .gz",
            kind,
        )
    named = {table.label, *(table.numeric or ()), *table.nominal, *table.drop}
    if missing := sorted(named - set(rows.columns)):
        raise _wrong(
            name, table, f"the columns {missing[:5]}", f"the columns {list(rows.columns)[:20]}"
        )
    return rows


def _other_columns(table: PublicTable, rows: pd.DataFrame) -> list[str]:
    taken = {table.label, *table.nominal, *_dropped(table)}
    return [column for column in rows.columns if column not in taken]


def _dropped(table: PublicTable) -> list[str]:
    named = Path(table.drop_file).read_text().split() if table.drop_file else []
    return [*table.drop, *named]


def _balanced(positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of all rows of the smaller class and as many random ones of the larger, in order."""
    sides = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    size = min(len(side) for side in sides)
    generator = np.random.default_rng(0)
    return np.sort(np.concatenate([generator.choice(side, size, replace=False) for side in sides]))


def _wrong(name: str, table: PublicTable, expected: str, got: str) -> SourceError:
    return SourceError(
        f"the table '{name}' of the benchmark cannot be read",
        expected=f"{expected} ({table.path})",
        got=got,
        fix=f"correct data_dir or benchmark.tables.{name} in the config, or leave the table out",
    )
