"""Random numbers as hashes of a seed and keys, whatever the partitioning of the rows."""

from collections.abc import Iterable
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import as_json


def key_hash(*keys: str) -> Column:
    """A 64-bit hash in which the position of a null counts: (7, null) and (null, 7) differ.

    It is ``xxhash64`` of the keys, which passes over nulls; where one is null, the positions of the
    nulls are hashed too.
    """
    nulls = [F.col(key).isNull() for key in keys]
    with_nulls = F.xxhash64(*keys, F.array(*nulls))
    return F.when(reduce(Column.__or__, nulls), with_nulls).otherwise(F.xxhash64(*keys))


def hashable(rows: DataFrame) -> list[str]:
    """The columns that Spark can hash: all but those with maps."""
    return [f.name for f in rows.schema if "map<" not in f.dataType.simpleString()]


def hash_values(rows: DataFrame, names: Iterable[str]) -> list[Column]:
    """Columns as values that Spark can hash: those with maps as JSON."""
    plain = set(hashable(rows))
    return [F.col(n) if n in plain else as_json(n) for n in names]


def uniform(seed: int, stream: str, *keys: Column | str) -> Column:
    """A number in (0, 1): a hash of seed, stream and keys.

    Args:
        seed: the run's seed.
        stream: what the number is for, so that two uses of the same keys are independent.
        keys: columns that identify what the number is drawn for.

    Returns:
        A double column, uniform on a grid of 2**-52.
    """
    hashed = F.xxhash64(F.lit(seed), F.lit(stream), *keys)
    return (F.shiftrightunsigned(hashed, 12) + F.lit(0.5)) * F.lit(2.0**-52)
