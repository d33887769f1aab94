"""A click and purchase log with known truth, at any size.

A session is a row of ``spark.range``, and everything in it is a hash of the seed and of ids: the
same seed gives the same log however the rows are partitioned.

    relevance = P(click | seen) = sigmoid(a + quality_i + taste_u(t) . kind_i - price)
    P(seen at rank r) = r^-eta;   P(buy | click) = sigmoid(b + c (quality_i - price))

Tastes rotate with time (drift); a rare group of users likes the opposite of what others like; bots
see and click at random; purchases come late, some are never recorded, and some that are recorded
never were. A log may hold several worlds: shops side by side that share neither sessions, users nor
items, each with mechanisms of its own.
"""

import math
from datetime import date
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.hashing import uniform
from reweight.core.section import Name, Section

_HOUR = 3600
# Ids as shops have them: 64-bit, beyond what a double holds exactly.
_FIRST_USER = 9_007_199_254_740_993
_SESSIONS_PER_TASK = 100_000
# What may differ between worlds.
_OWN = (
    "eta", "click", "purchase", "late", "hours", "late_days", "late_price", "unrecorded",
    "spurious", "bots", "bot_clicks", "drift", "rare",
)  # fmt: skip


class Dirt(Section):
    """Planted faults, each a share of the events; all are lines beside the clean log.

    Attributes:
        duplicates: lines repeated to the letter.
        redelivered: events delivered again, with a later ``received_at``.
        malformed: lines cut short (JSON only).
        null_ids: events without a user.
        bad_prices: events with a negative price.
        future_times: events years ahead.
    """

    duplicates: float = Field(default=0.01, ge=0, le=1)
    redelivered: float = Field(default=0.01, ge=0, le=1)
    malformed: float = Field(default=0.002, ge=0, le=1)
    null_ids: float = Field(default=0.003, ge=0, le=1)
    bad_prices: float = Field(default=0.002, ge=0, le=1)
    future_times: float = Field(default=0.001, ge=0, le=1)


class Simulation(Section):
    """The section ``simulation``.

    Attributes:
        path: folder of the raw files; replaced.
        format: ``json`` (gzipped lines) or ``parquet``.
        sessions: each shows one ranked list.
        users: with Zipf popularity, as items.
        items: of the shop.
        categories: of items.
        start: first day, UTC.
        days: length of the log; what happens later is not in it.
        list_size: items shown per session.
        zipf: exponent of the popularity of users and items.
        eta: strength of position bias.
        click: intercept a.
        purchase: intercept b.
        late: share of purchases that take days and not hours.
        hours: mean delay of the quick ones.
        late_days: mean delay of the late ones.
        late_price: by how much dear things are bought later: delays are exp(late_price z) times
            as long, z the standardised logarithm of the price.
        unrecorded: share of purchases that the log never sees.
        spurious: share of impressions with a purchase in the log that never was.
        bots: share of sessions.
        bot_clicks: chance that a bot clicks an item.
        drift: by how far tastes rotate over the log, in radians.
        rare: share of users in the rare group.
        worlds: by name, settings in which a world differs from the section: eta, click, purchase,
            late, hours, late_days, late_price, unrecorded, spurious, bots, bot_clicks, drift,
            rare. Then ``sessions``, ``users`` and ``items`` are those of each world, and a column
            ``world`` tells which an event is of. Without, there is one world, and no such column.
        dirt: planted faults.
    """

    path: str
    format: Literal["json", "parquet"] = "json"
    sessions: int = Field(default=10_000, ge=1)
    users: int = Field(default=3_000, ge=1)
    items: int = Field(default=500, ge=20)
    categories: int = Field(default=12, ge=1)
    start: date = date(2026, 1, 1)
    days: int = Field(default=30, ge=1)
    list_size: int = Field(default=10, ge=1, le=20)
    zipf: float = Field(default=0.8, ge=0, lt=1)
    eta: float = Field(default=1.0, ge=0)
    click: float = -0.6
    purchase: float = -0.7
    late: float = Field(default=0.4, ge=0, le=1)
    hours: float = Field(default=4.0, gt=0)
    late_days: float = Field(default=2.5, gt=0)
    late_price: float = 0.0
    unrecorded: float = Field(default=0.1, ge=0, le=1)
    spurious: float = Field(default=0.0, ge=0, le=1)
    bots: float = Field(default=0.02, ge=0, le=1)
    bot_clicks: float = Field(default=0.3, ge=0, le=1)
    drift: float = 0.8
    rare: float = Field(default=0.05, ge=0, le=1)
    worlds: dict[Name, dict[str, float]] = {}
    dirt: Dirt = Dirt()

    @field_validator("worlds")
    @classmethod
    def _own_settings(cls, worlds: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for name, own in worlds.items():
            if unknown := sorted(set(own) - set(_OWN)):
                raise ValueError(f"{name}: expected some of {list(_OWN)}, got {unknown}")
            try:
                cls(path="", **own)
            except ValidationError as error:
                first = error.errors()[0]
                raise ValueError(f"{name}.{first['loc'][0]}: {first['msg']}") from error
        return worlds


def impressions(spark: SparkSession, simulation: Simulation, seed: int) -> DataFrame:
    """One row per item shown: what the shop knows and, in ``truth`` columns, what it does not."""
    # However many sessions, a task makes no more than it and its file can hold.
    sessions = simulation.sessions * max(1, len(simulation.worlds))
    tasks = max(spark.sparkContext.defaultParallelism, sessions // _SESSIONS_PER_TASK)
    return (
        spark.range(0, sessions, numPartitions=tasks)
        .withColumnRenamed("id", "session_id")
        .withColumn("_world", F.floor(F.col("session_id") / simulation.sessions))
        .transform(_with_visitor, simulation, seed)
        .transform(_with_list, simulation, seed)
        .transform(_with_item, simulation, seed)
        .transform(_with_behaviour, simulation, seed)
    )


def truth(shown: DataFrame) -> DataFrame:
    """What only evaluation may read, one row per impression."""
    return shown.select(
        "impression_id",
        "relevance",
        "seen",
        "bot",
        "wanted",
        "would_buy",
        F.when(F.col("would_buy"), F.col("delay") / _HOUR).alias("delay_hours"),
        "recorded",
    )


def _with_visitor(sessions: DataFrame, simulation: Simulation, seed: int) -> DataFrame:
    """Who comes, and when: more in the evening than at night."""
    session = F.col("session_id")
    bot = uniform(seed, "bot", session) < _own(simulation, "bots")
    first = F.col("_world") * 2 * simulation.users
    person = first + _zipf(uniform(seed, "user", session), simulation.users, simulation.zipf)
    robot = (
        first
        + simulation.users
        + F.floor(uniform(seed, "robot", session) * max(1, simulation.users // 200))
    )
    user = F.when(bot, robot).otherwise(person).cast("long")
    day = F.floor(uniform(seed, "day", session) * simulation.days)
    # The mean of three uniform numbers peaks in the middle; its middle is put at 18 o'clock.
    daytime = sum(
        (uniform(seed, f"hour-{i}", session) for i in range(3)), start=F.lit(0.0)
    ) / F.lit(3.0)
    second = F.pmod(daytime * 86400 + 6 * _HOUR, F.lit(86400.0))
    device = uniform(seed, "device", session)
    return sessions.select(
        "session_id",
        "_world",
        bot.alias("bot"),
        user.alias("_user"),
        (user + _FIRST_USER).alias("user_id"),
        F.floor(begin(simulation) + day * 86400 + second).alias("began_at"),
        F.when(device < 0.6, "phone")
        .when(device < 0.9, "desktop")
        .otherwise("tablet")
        .alias("device"),
    ).withColumn(
        "user_group",
        F.when(uniform(seed, "rare", "_user") < _own(simulation, "rare"), "rare").otherwise("main"),
    )


def _with_list(sessions: DataFrame, simulation: Simulation, seed: int) -> DataFrame:
    """The ranked list: distinct popular items, by a noisy idea of their quality."""
    # Four times as many draws as places: then the distinct ones fill the list, but for a tiny shop.
    draws = F.sequence(F.lit(1), F.lit(4 * simulation.list_size))
    first = F.col("_world") * simulation.items
    drawn = F.transform(
        draws,
        lambda j: (
            first + _zipf(uniform(seed, "item", "session_id", j), simulation.items, simulation.zipf)
        ).cast("long"),
    )
    chosen = F.slice(F.array_distinct(drawn), 1, simulation.list_size)
    scored = F.transform(
        chosen,
        lambda item: F.struct(
            (-_quality(item, seed) - 1.5 * uniform(seed, "policy", "session_id", item)).alias("s"),
            item.alias("item_id"),
        ),
    )
    return (
        sessions.select("*", F.posexplode(F.array_sort(scored)).alias("place", "_item"))
        .select(
            "*", (F.col("place") + 1).alias("position"), F.col("_item.item_id").alias("item_id")
        )
        .drop("place", "_item")
    )


def _with_item(shown: DataFrame, simulation: Simulation, seed: int) -> DataFrame:
    item = F.col("item_id")
    category = F.floor(uniform(seed, "category", item) * simulation.categories).cast("int")
    price = F.round(F.exp(3 + 0.7 * _normal(seed, "price", item)), 2)
    return shown.withColumns(
        {
            "_category": category,
            "category": F.format_string("c%02d", category),
            "price": price,
            "_quality": _quality(item, seed),
            "_cost": (F.log(price) - 3) / 0.7,
        }
    )


def _with_behaviour(shown: DataFrame, simulation: Simulation, seed: int) -> DataFrame:
    """Seen, clicked, bought, when; and the relevance behind it."""
    key = F.concat_ws("-", F.col("session_id").cast("string"), F.col("position").cast("string"))
    elapsed = (F.col("began_at") - begin(simulation)) / (simulation.days * 86400)
    # Categories lie on a circle, and a taste is a direction that turns with time.
    likes = 2 * math.pi * uniform(seed, "taste", "_user") + _own(simulation, "drift") * elapsed
    kind = F.col("_category") * (2 * math.pi / simulation.categories)
    side = F.when(F.col("user_group") == "rare", -1.0).otherwise(1.0)
    common = F.cos(kind + _own(simulation, "drift") * elapsed)
    interest = side * (0.5 * F.cos(likes - kind) + 0.7 * common)
    cost = F.col("_cost") * F.when(F.col("user_group") == "rare", 0.0).otherwise(0.5)
    logit = _own(simulation, "click") + F.col("_quality") + interest - cost
    bot = F.col("bot")
    seen = bot | (uniform(seed, "seen", key) < F.pow(F.col("position"), -_own(simulation, "eta")))
    chance = F.when(bot, _own(simulation, "bot_clicks")).otherwise(_sigmoid(logit))
    buys = _sigmoid(_own(simulation, "purchase") + 0.8 * F.col("_quality") - cost)
    mean = F.when(
        uniform(seed, "late", key) < _own(simulation, "late"), _own(simulation, "late_days") * 86400
    ).otherwise(_own(simulation, "hours") * _HOUR)
    mean = mean * F.exp(_own(simulation, "late_price") * F.col("_cost"))
    shown = shown.withColumns(
        {
            "impression_id": key,
            "relevance": chance,
            "seen": seen,
            "_likes": uniform(seed, "click", key) < chance,
            "_buys": ~bot & (uniform(seed, "buy", key) < buys),
            "delay": F.floor(-F.log(uniform(seed, "delay", key)) * mean) + 60,
            "shown_at": F.col("began_at") + F.col("position"),
        }
    )
    shown = shown.withColumn("clicked", F.col("seen") & F.col("_likes"))
    kept = uniform(seed, "unrecorded", key) >= _own(simulation, "unrecorded")
    never = uniform(seed, "spurious", key) < _own(simulation, "spurious")
    return shown.withColumns(
        {
            "clicked_at": F.col("shown_at") + 5 + F.floor(uniform(seed, "pause", key) * 60),
            "wanted": F.col("_likes") & F.col("_buys"),
            "would_buy": F.col("clicked") & F.col("_buys"),
            "recorded": F.when(F.col("clicked") & F.col("_buys"), kept).otherwise(never),
        }
    )


def _own(simulation: Simulation, name: str) -> Column:
    """A setting of the world that a row is of."""
    default = float(getattr(simulation, name))
    values = [float(own.get(name, default)) for own in simulation.worlds.values()] or [default]
    return _of_world([F.lit(value) for value in values])


def world_name(simulation: Simulation) -> Column:
    """The name of a row's world."""
    return _of_world([F.lit(name) for name in simulation.worlds] or [F.lit("")])


def _of_world(values: list[Column]) -> Column:
    if len(values) == 1:
        return values[0]
    return F.element_at(F.array(*values), (F.col("_world") + 1).cast("int"))


def _quality(item: Column, seed: int) -> Column:
    return 0.6 * _normal(seed, "quality", item)


def _zipf(drawn: Column, size: int, exponent: float) -> Column:
    """Rank in [0, size) with P(rank) ~ (rank + 1)^-exponent, by the continuous inverse."""
    power = 1 - exponent
    rank = F.floor(F.pow(1 + drawn * ((size + 1) ** power - 1), F.lit(1 / power))) - 1
    return F.least(rank, F.lit(size - 1))


def _normal(seed: int, stream: str, *keys: Column) -> Column:
    """A standard normal number, by Box and Muller."""
    radius = F.sqrt(-2 * F.log(uniform(seed, f"{stream}-radius", *keys)))
    return radius * F.cos(2 * math.pi * uniform(seed, f"{stream}-angle", *keys))


def _sigmoid(logit: Column) -> Column:
    return 1 / (1 + F.exp(-logit))


def begin(simulation: Simulation) -> Column:
    """When the simulated log begins, in seconds since 1970."""
    return F.unix_seconds(F.lit(simulation.start).cast("timestamp"))
