"""The raw rows of all sources -> rows with typed event columns and their reasons to be rejected."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession

from reweight.clean_logs import cleaning, lookups, reasons
from reweight.clean_logs.section import Cleaning
from reweight.clean_logs.sources import Read
from reweight.core.storable import with_zones


def typed_rows(spark: SparkSession, sources: Mapping[str, Read], section: Cleaning) -> DataFrame:
    """All rows, with the event columns, their origin and ``_reasons``.

    Args:
        spark: the session.
        sources: the raw rows of each source.
        section: the section ``cleaning``.

    Raises:
        SourceError: expressions, rules or lookups do not fit the rows.
    """
    return (
        cleaning.mapped(sources, section)
        .transform(lookups.with_lookups, spark, section)
        .transform(with_zones)
        .transform(reasons.with_reasons, section)
        .transform(reasons.with_duplicates, section)
    )
