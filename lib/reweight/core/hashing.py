"""Random numbers as hashes of a seed and keys, whatever the partitioning of the rows."""

from pyspark.sql import Column
from pyspark.sql import functions as F


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
