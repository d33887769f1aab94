"""Columns that a config keeps with its samples: as text in one map, with their types beside it.

Each run keeps its own columns, and a table that holds many runs must not change its schema for each
of them. The types are in the run's folder.
"""

import json
from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.run_folder import RunFolder


def kept_map(columns: Mapping[str, str]) -> Column:
    """The column ``kept``: name -> value as text; null if nothing is kept.

    Args:
        columns: name -> expression.
    """
    if not columns:
        return F.lit(None).cast("map<string,string>")
    pairs = [
        part for name, sql in columns.items() for part in (F.lit(name), F.expr(sql).cast("string"))
    ]
    return F.create_map(*pairs)


def kept_columns(samples: DataFrame, types: Mapping[str, str]) -> DataFrame:
    """The samples with a column for each kept one.

    Args:
        samples: with the column ``kept``.
        types: name -> type.
    """
    return samples.withColumns({n: F.col("kept")[n].cast(kind) for n, kind in types.items()})


def kept_types(folder: RunFolder) -> dict[str, str]:
    """Name -> type of the columns that the run keeps; none in runs of earlier versions."""
    path = folder.kept
    types: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return types
