"""Columns that a config keeps with its samples: as JSON in one column, with their types beside it.

Each run keeps its own columns, and a table that holds many runs must not change its schema for each
of them. The types are in the run's folder.
"""

import json
from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import as_json
from reweight.core.run_folder import RunFolder
from reweight.core.section import quoted


def kept_json(columns: Mapping[str, str]) -> Column:
    """The column ``kept``: an object with a field for each column; null if nothing is kept.

    Args:
        columns: name -> expression.
    """
    if not columns:
        return F.lit(None).cast("string")
    return as_json(*[F.expr(sql).alias(name) for name, sql in columns.items()])


def with_kept(samples: DataFrame, types: Mapping[str, str]) -> DataFrame:
    """The samples with a column for each kept one.

    Args:
        samples: with the column ``kept``.
        types: name -> type.
    """
    if not types:
        return samples
    schema = ", ".join(f"{quoted(name)} {kind}" for name, kind in types.items())
    return samples.withColumn("kept", F.from_json("kept", schema)).select("*", "kept.*")


def kept_types(folder: RunFolder) -> dict[str, str]:
    """Name -> type of the columns that the run keeps; none in runs of earlier versions."""
    path = folder.kept
    types: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return types
