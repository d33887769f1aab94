"""Columns with many values as hashed ids."""

from pydantic import Field
from pyspark.sql import Column
from pyspark.sql import functions as F

from reweight.core.section import Section, Sql


class Categorical(Section):
    """A column with many values, one hashed id.

    Attributes:
        value: expression; null gets the id 0, which no value has.
        buckets: number of ids of this field.
    """

    value: Sql
    buckets: int = Field(default=1024, ge=2)


def hashed(field: Categorical) -> Column:
    """The id of the field in each row, int."""
    value = F.expr(field.value).cast("string")
    number = F.pmod(F.xxhash64(value), F.lit(field.buckets - 1)) + 1
    return F.when(value.isNull(), F.lit(0)).otherwise(number).cast("int")
