"""The predictions of two runs on the same validation rows -> metrics, less the live weights."""

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import read_stats
from reweight.core.baselines import CONTROL
from reweight.core.errors import PromotionError
from reweight.core.run_folder import RunFolder
from reweight.core.store import Store
from reweight.core.tables import PREDICTIONS
from reweight.promote.decisions import Version
from reweight.promote.rules import LIVE

_COLUMNS = ("method", "sample_id", "group_id", "segment", "split", "label", "probability")


def check_features(challenger: RunFolder, live: RunFolder) -> None:
    """Refuses runs whose rankers see other features.

    Args:
        challenger: the run of the challenger.
        live: the run that has the live weights on its rows.

    Raises:
        PromotionError: a difference would be one of the features.
    """
    stats, live_stats = (read_stats(folder.features) for folder in (challenger, live))
    if stats.names == live_stats.names and stats.cardinalities == live_stats.cardinalities:
        return
    names = {*stats.names, *stats.cardinalities} ^ {*live_stats.names, *live_stats.cardinalities}
    raise PromotionError(
        f"run '{challenger.path.name}' has other features than '{live.path.name}'",
        expected="the features of the live weights: the difference of rankers that see others is "
        "not one of the weights",
        got=f"in one run alone, or in another order or size: {sorted(names)[:10]}",
        fix="fit the challenger with the features of the live run",
    )


def validation_rows(store: Store, ranker: str, *, challenger: bool) -> DataFrame:
    """Predictions of validation rows by the ranker that decides, for all methods.

    Args:
        store: the tables, as the run sees them.
        ranker: name of the run's first ranker.
        challenger: whether weights without information are left out, which are no challenger.
    """
    first = F.lit(ranker)
    rows = store.read(PREDICTIONS).where("split = 'validation'")
    name = F.col("ranker") if "ranker" in rows.columns else F.lit(None).cast("string")
    rows = rows.where(F.coalesce(name, first) == first)
    return (rows.where(F.col("method") != CONTROL) if challenger else rows).select(*_COLUMNS)


def beside_live(
    challenger: tuple[Version, DataFrame], live: tuple[Version, DataFrame]
) -> tuple[DataFrame, int, str]:
    """The predictions of the challenger's run, and those of the live weights as one more method.

    Args:
        challenger: the version, and the output of ``validation_rows`` of its run.
        live: the version and the run that has its weights on the same rows, likewise.

    Returns:
        The predictions, the number of rows, and what identifies the rows.

    Raises:
        PromotionError: the two were judged on other rows.
    """
    version, rows = challenger
    beside, live_rows = live
    live_rows = live_rows.where(F.col("method") == beside.method).withColumn("method", F.lit(LIVE))
    identity = _identity(rows.where(F.col("method") == version.method))
    live_identity = _identity(live_rows)
    if identity != live_identity or not identity[0]:
        raise PromotionError(
            f"run '{version.run}' was judged on other rows than '{beside.run}'",
            expected="the same validation rows, groups and labels in both runs",
            got=f"{identity[0]:,} rows with the hash {identity[1]}, and "
            f"{live_identity[0]:,} with {live_identity[1]}",
            fix="weigh the challenger's rows by the live models: python jobs/pipeline.py CONFIG "
            f"run_id={version.run}_live model_run_id={beside.model}, with the CONFIG of run "
            f"'{version.run}'; then add --against {version.run}_live",
        )
    return rows.unionByName(live_rows), *identity


def _identity(rows: DataFrame) -> tuple[int, str]:
    hashed = F.expr("bit_xor(xxhash64(sample_id, group_id, label))")
    totals: Any = rows.agg(F.count("*"), hashed).first()
    return int(totals[0]), f"{(totals[1] or 0) & (2**64 - 1):016x}"
