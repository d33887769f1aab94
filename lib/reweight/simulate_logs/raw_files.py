"""Simulated impressions -> raw log files with planted faults."""

import re
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.digest import digest
from reweight.core.errors import SourceError
from reweight.core.hashing import uniform
from reweight.core.local_paths import here
from reweight.core.spark_files import listed
from reweight.simulate_logs.section import Simulation
from reweight.simulate_logs.simulation import begin, has_order, has_refunds, world_name

# Names that Spark, also that of Databricks, gives the files of ``write_raw``; readers pass over
# those that begin with `_` or `.`.
_WRITTEN = re.compile(r"[_.].*|part-\d+-[\w-]+(\.c\d+)?(\.txt\.gz|(\.\w+)?\.parquet)")


def events(shown: DataFrame, simulation: Simulation) -> DataFrame:
    """The clean log: one event for each impression, click and recorded purchase before its end.

    With ``refunds`` also one for each purchase that is taken back, and with ``order`` one for each
    category that a session looks at before its list.
    """
    bought_at = F.col("clicked_at") + F.col("delay")
    happening = [
        ("impression", F.lit(True), F.col("shown_at")),
        ("click", F.col("clicked"), F.col("clicked_at")),
        ("purchase", F.col("recorded"), bought_at),
    ]
    if has_refunds(simulation):
        refunded = F.col("recorded") & F.col("returned")
        happening.append(("refund", refunded, bought_at + F.col("return_delay")))
    kinds = [
        F.struct(
            F.lit(kind).alias("event_type"),
            F.concat(F.lit(f"{kind[0]}-"), "impression_id").alias("event_id"),
            happens.alias("_happens"),
            seconds.alias("_seconds"),
        )
        for kind, happens, seconds in happening
    ]
    context = ["session_id", "user_id", "user_group", "device", "item_id", "category", "price"]
    context = [*(["world"] if simulation.worlds else []), *context]
    context += ["query", "title"] if simulation.search else []
    shown = shown.withColumn("world", world_name(simulation))
    if simulation.news:
        context.append("published_at")
        shown = shown.withColumn("published_at", _iso(F.col("published_at")))
    rows = shown.select(*context, "position", "impression_id", F.inline(F.array(*kinds)))
    happened = rows.where(F.col("_happens") & (F.col("_seconds") < _end(simulation)))
    if has_order(simulation):
        happened = happened.unionByName(_views(shown, context))
    shows_place = ~F.col("event_type").isin("purchase", "refund")
    position = F.when(shows_place, F.col("position"))
    return happened.select(
        "event_id",
        "event_type",
        _iso(F.col("_seconds")).alias("ts"),
        _iso(F.col("_seconds") + 2).alias("received_at"),
        *context,
        position.alias("position"),
        "impression_id",
    )


def _views(shown: DataFrame, context: Sequence[str]) -> DataFrame:
    """What sessions look at before they see their list, two minutes apart: categories, no items."""
    none = {"item_id": "long", "price": "double", "position": "int", "impression_id": "string"}
    first = shown.where("position = 1").withColumns(
        {name: F.lit(None).cast(kind) for name, kind in none.items()}
    )
    kept = [name for name in context if name != "category"]
    views = first.select(*kept, "impression_id", "position", "began_at", F.posexplode("_viewed"))
    return views.select(
        *kept,
        "position",
        "impression_id",
        F.format_string("c%02d", "col").alias("category"),
        F.lit("view").alias("event_type"),
        F.format_string("v%d-%d", "pos", "session_id").alias("event_id"),
        F.lit(True).alias("_happens"),
        (F.col("began_at") - 120 * (3 - F.col("pos"))).alias("_seconds"),
    )


def with_dirt(clean: DataFrame, simulation: Simulation, seed: int) -> DataFrame:
    """The clean lines that are not lost, and the planted ones, with their ``fault``."""
    clean, dirt = _not_lost(clean, simulation, seed), simulation.dirt
    faults = [F.struct(F.lit(None).cast("string").alias("fault"), F.lit(True).alias("_drawn"))]
    for name, share in dirt:
        if name == "malformed" and simulation.format != "json":
            continue
        drawn = uniform(seed, f"dirt-{name}", "event_id") <= share
        faults.append(F.struct(F.lit(name).alias("fault"), drawn.alias("_drawn")))
    rows = clean.select("*", F.inline(F.array(*faults))).where("_drawn").drop("_drawn")
    fault = F.col("fault")
    has_new_id = fault.isin("null_ids", "bad_prices", "future_times")
    late = F.to_timestamp("received_at") + F.expr("interval 1 hour")
    ahead = F.to_timestamp("ts") + F.expr("interval 5 years")
    return rows.withColumns(
        {
            "event_id": F.when(has_new_id, F.concat_ws("-", "event_id", "fault")).otherwise(
                F.col("event_id")
            ),
            "received_at": F.when(fault == "redelivered", _iso_time(late)).otherwise(
                F.col("received_at")
            ),
            "user_id": F.when(fault == "null_ids", None).otherwise(F.col("user_id")),
            "price": F.when(fault == "bad_prices", -1.0).otherwise(F.col("price")),
            "ts": F.when(fault == "future_times", _iso_time(ahead)).otherwise(F.col("ts")),
        }
    )


def _not_lost(clean: DataFrame, simulation: Simulation, seed: int) -> DataFrame:
    """The lines that are in the log: of a day in ``lost`` those of some sessions only."""
    if not simulation.lost:
        return clean
    day, share = F.substring("received_at", 1, 10), F.lit(0.0)
    for lost, part in simulation.lost.items():
        share = F.when(day == str(lost), part).otherwise(share)
    return clean.where(uniform(seed, "lost", "session_id") >= share)


def check_replaced(spark: SparkSession, path: str) -> None:
    """Checks that nothing but a simulated log is where ``write_raw`` is to write one.

    Args:
        spark: the session.
        path: the folder.

    Raises:
        SourceError: there are other files, which would be lost.
    """
    listing = listed(spark, path)
    files = listing.under if listing.exists else []
    if others := sorted(f for f in files if not _WRITTEN.fullmatch(f.rpartition("/")[2])):
        raise SourceError(
            f"{path} has files that are no simulated log",
            expected="a folder for the simulated log alone, which replaces what is in it",
            got=f"{len(others)} other file(s), such as {others[0]}",
            fix="write another folder, such as simulation.path=out/simulated; for a log of your "
            "own, write simulation: null and its path in cleaning.sources; nothing was changed",
        )


def write_raw(lines: DataFrame, simulation: Simulation) -> None:
    """Writes the raw files of a shop, replacing the folder."""
    fields = [c for c in lines.columns if c != "fault"]
    day = [F.substring("received_at", 1, 10).alias("day")] if simulation.by_day else []
    folders = ["day"] * simulation.by_day
    if simulation.format == "parquet":
        rows = lines.select(*fields, *day)
        rows.write.mode("overwrite").partitionBy(*folders).parquet(simulation.path)
        return
    text = F.to_json(F.struct(*fields))
    cut = F.when(F.col("fault") == "malformed", F.expr("substr(line, 1, length(line) div 2)"))
    lines = lines.select("fault", text.alias("line"), *day)
    lines = lines.select(F.coalesce(cut, F.col("line")).alias("value"), *folders)
    writer = lines.write.mode("overwrite").option("compression", "gzip")
    writer.partitionBy(*folders).text(simulation.path)


def written(spark: SparkSession, path: str) -> str:
    """What is in the folder of the raw files: a hash of the names, sizes and times."""
    place = here(path)
    if place is not None:
        below = sorted(file for file in place.rglob("*") if file.is_file())
        facts = [(f.relative_to(place).as_posix(), f.stat()) for f in below]
        return digest(*[f"{name} {s.st_size} {s.st_mtime_ns}" for name, s in facts])
    if not listed(spark, path).under:
        return "nothing"
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
    file = F.xxhash64("path", "length", "modificationTime")
    return str(files.agg(F.bit_xor(file), F.count("*")).first())


def _end(simulation: Simulation) -> Column:
    return begin(simulation) + simulation.days * 86400


def _iso(seconds: Column) -> Column:
    return _iso_time(F.timestamp_seconds(seconds))


def _iso_time(time: Column) -> Column:
    return F.date_format(time, "yyyy-MM-dd'T'HH:mm:ss'Z'")
