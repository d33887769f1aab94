"""Tables from files: what is taken of them, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reweight.benchmark.detection.public import Data, PublicTable, read_table
from reweight.core.errors import SourceError

ROWS = pd.DataFrame(
    {
        "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "constant": [7.0] * 6,
        "colour": ["red", "blue", "red", "green", "blue", "red"],
        "target": [0.1, 0.2, 0.3, 0.4, 0.5, 3.0],
        "class": ["UP", "UP", "DOWN", "UP", "UP", "DOWN"],
    }
)


def table(folder: Path, kind: str = "csv", **values: Any) -> PublicTable:
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        ROWS.to_parquet(path)
    else:
        ROWS.to_csv(path, sep="\t" if "tsv" in kind else ",", index=False)
    given = {"path": str(path), "label": "target", "below_mean": True, "drop": ("class",)}
    return PublicTable.model_validate(given | {"nominal": ("colour",)} | values)


# Another label of the same rows: a class by name.
UP = {"label": "class", "positive": "UP", "below_mean": False, "drop": ("target",)}


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "tsv.gz", "parquet"])
def test_a_table_is_standardised_numbers_codes_and_a_label(tmp_path: Path, kind: str) -> None:
    data = read_table("t", table(tmp_path, kind))
    x = (ROWS["x"] - 3.5) / ROWS["x"].std(ddof=0)
    np.testing.assert_allclose(data.features, np.stack([x, np.zeros(6)], axis=1), rtol=1e-6)
    assert data.label.tolist() == [1, 1, 1, 1, 1, 0]
    assert data.ids[:, 0].tolist() == [3, 1, 3, 2, 1, 3]
    assert data.cardinalities == (4,)
    assert data.matrix().shape == (6, 2 + 4)


def test_the_label_is_no_feature(tmp_path: Path) -> None:
    whole = table(tmp_path, **UP)
    assert read_table("t", whole).features.shape[1] == 2
    named = table(tmp_path, **UP | {"numeric": ("x",), "nominal": ()})
    assert read_table("t", named).features.shape[1] == 1


def test_columns_can_be_left_out_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("constant\nother\n")
    found = read_table("t", table(tmp_path, drop_file=str(tmp_path / "out.txt")))
    assert found.features.shape[1] == 1


def test_the_larger_class_is_drawn_down(tmp_path: Path) -> None:
    balanced = table(tmp_path, **UP | {"balance": True})
    assert np.bincount(read_table("t", balanced).label.astype(int)).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"path": "/nowhere.csv"}, "data_dir"),
        ({"path": __file__}, "csv, tsv or parquet"),
        (UP | {"positive": "SIDEWAYS"}, "both classes"),
        ({"label": "answer"}, "answer"),
        ({"numeric": ("x", "missing")}, "missing"),
        ({"numeric": ("x", "colour")}, "colour"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_a_table_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(SourceError, match="table 't'") as error:
        read_table("t", table(tmp_path, **values))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "rule", "expected"),
    [
        ("class", None, UP, "a label in every row"),
        ("target", None, {}, "a finite number in every row"),
        ("target", np.inf, {}, "a finite number in every row"),
        ("target", "high", {}, "a finite number in every row"),
    ],
)
def test_rows_without_a_label_have_no_class(
    tmp_path: Path, column: str, value: Any, rule: dict[str, Any], expected: str
) -> None:
    path = tmp_path / "holes.csv"
    holes = ROWS.assign(**{column: ROWS[column].astype(object).where(ROWS["x"] > 2, value)})
    holes.to_csv(path, index=False)
    with pytest.raises(SourceError, match=f"'{column}' has none in 2 of 6 rows") as error:
        read_table("t", table(tmp_path, **rule | {"path": str(path)}))
    assert expected in str(error.value)


def test_rows_and_labels_can_be_taken_apart() -> None:
    data = Data.of(np.arange(8.0).reshape(4, 2), np.array([[0], [1], [2], [0]]), np.arange(4) % 2)
    part = data.rows(np.array([2, 0]))
    assert part.ids[:, 0].tolist() == [2, 0]
    assert part.cardinalities == (3,)
    assert part.labelled(np.ones(2, dtype=np.float32)).label.tolist() == [1, 1]
    assert data.label.tolist() == [0, 1, 0, 1]
