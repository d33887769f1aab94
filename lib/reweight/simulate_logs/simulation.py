"""A click and purchase log with known truth, of any size.

A session is a row of ``spark.range``, and everything in it is a hash of the seed and of ids: the
same seed gives the same log, however the rows are partitioned.

    relevance = P(click | seen) = sigmoid(a + quality_i + taste_u(t) . kind_i - cost_ui + order)
    P(seen at rank r) = r^-eta;   P(buy | click) = sigmoid(b + 0.8 quality_i - cost_ui)
    P(refund | buy) = sigmoid(logit(refunds) - quality_i)

with a and b the settings ``click`` and ``purchase``, and cost_ui half the standardised logarithm of
the price, 0 for the rare segment. With ``news`` there are further terms for bait and age.

Tastes rotate with time; a rare segment of users likes the opposite of what others like; bots
see everything and click at random; purchases arrive late, some are never recorded, some recorded
ones never happened, and some are taken back. With ``order`` a visitor first looks at three
neighbouring categories of the circle, going one way or the other, and wants those a quarter of the
circle further on: how often he looked at each category does not say which. A log can contain
several worlds: separate shops that share no sessions, users or items, each with its own faults.
In a search log (``words``), relevance also depends on whether an item is what the query asked for.
"""

import math
from itertools import accumulate

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.hashing import uniform
from reweight.core.session_kind import slots
from reweight.simulate_logs import articles, words
from reweight.simulate_logs.section import Simulation

_HOUR = 3600
# Ids like those of real shops: 64-bit, beyond what a double represents exactly.
_FIRST_USER = 9_007_199_254_740_993
_SESSIONS_PER_TASK = 100_000


def impressions(spark: SparkSession, simulation: Simulation, seed: int) -> DataFrame:
    """One row for each item shown: what the shop knows, and the truth, which it does not know."""
    # However many sessions there are, a task and its file stay small.
    starts = _starts(simulation, "sessions")
    sessions = starts[-1]
    tasks = max(slots(spark), sessions // _SESSIONS_PER_TASK)
    return (
        spark.range(0, sessions, numPartitions=tasks)
        .withColumnRenamed("id", "session_id")
        .withColumn("_world", _world_of(F.col("session_id"), starts[:-1]))
        .transform(_with_visitor, simulation, seed)
        .transform(_with_list, simulation, seed)
        .transform(_with_item, simulation, seed)
        .transform(_with_behaviour, simulation, seed)
    )


def truth(shown: DataFrame) -> DataFrame:
    """The truth, which only evaluation may read: one row for each impression."""
    return shown.select(
        "impression_id",
        "relevance",
        "seen",
        "bot",
        "wanted",
        "would_buy",
        F.when(F.col("would_buy"), F.col("delay") / _HOUR).alias("delay_hours"),
        "recorded",
        F.when(F.col("would_buy") & F.col("returned"), F.col("return_delay") / _HOUR).alias(
            "refund_hours"
        ),
    )


def _with_visitor(sessions: DataFrame, simulation: Simulation, seed: int) -> DataFrame:
    """Adds the visitor and the time of the visit: more come in the evening than at night."""
    session = F.col("session_id")
    bot = uniform(seed, "bot", session) < _setting(simulation, "bots")
    users = _sizes(simulation, "users")
    first = 2 * _first(simulation, "users")
    person = first + _zipf(uniform(seed, "user", session), users, simulation.zipf)
    robots = _by_world([F.lit(max(1, count // 200)) for count in users])
    drawn = F.floor(uniform(seed, "robot", session) * robots)
    robot = first + _by_world([F.lit(count) for count in users]) + drawn
    user = F.when(bot, robot).otherwise(person).cast("long")
    day = F.floor(uniform(seed, "day", session) * simulation.days)
    # The mean of three uniform numbers peaks in the middle, which is shifted to 18:00.
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
        F.when(uniform(seed, "rare", "_user") < _setting(simulation, "rare"), "rare").otherwise(
            "main"
        ),
    )


def _with_list(sessions: DataFrame, simulation: Simulation, seed: int) -> DataFrame:
    """Adds the ranked list: distinct popular items, ordered by noisy estimates of quality."""
    # Four draws per position, so that distinct items fill the list except in a tiny shop.
    draws = F.sequence(F.lit(1), F.lit(4 * simulation.list_size))
    first, items = _first(simulation, "items"), _sizes(simulation, "items")

    def draw(j: Column) -> Column:
        item = first + _zipf(uniform(seed, "item", "session_id", j), items, simulation.zipf)
        item = item.cast("long")
        if simulation.search is None:
            return item
        hit = uniform(seed, "hit", "session_id", j) < simulation.search.hits
        thing = words.asked_thing(F.col("session_id"), seed)
        count = _by_world([F.lit(size) for size in items])
        return F.when(hit, words.found(item, thing, first, count)).otherwise(item)

    drawn = F.transform(draws, draw)
    chosen = F.slice(F.array_distinct(drawn), 1, simulation.list_size)
    if (news := simulation.news) is not None:
        passed = F.col("began_at") - begin(simulation)
        chosen = F.transform(
            chosen, lambda place: articles.article(place, passed, items[0], news, seed)
        )
    scored = F.transform(
        chosen,
        lambda item: F.struct(
            (-_quality(item, seed) - 1.5 * uniform(seed, "policy", "session_id", item)).alias("s"),
            item.alias("item_id"),
        ),
    )
    return (
        sessions.select("*", F.posexplode(F.array_sort(scored)).alias("rank", "_item"))
        .select("*", (F.col("rank") + 1).alias("position"), F.col("_item.item_id").alias("item_id"))
        .drop("rank", "_item")
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
    """Adds what was seen, clicked and bought, when, and the relevance behind it."""
    key = F.concat_ws("-", F.col("session_id").cast("string"), F.col("position").cast("string"))
    # The share of the time of drift that has passed.
    still = simulation.drift_from * 86400
    turning = F.greatest(F.col("began_at") - begin(simulation) - still, F.lit(0))
    elapsed = turning / (simulation.days * 86400 - still)
    # Categories lie on a circle; a taste is a direction that rotates with time.
    likes = 2 * math.pi * uniform(seed, "taste", "_user") + _setting(simulation, "drift") * elapsed
    kind = F.col("_category") * (2 * math.pi / simulation.categories)
    side = F.when(F.col("user_group") == "rare", -1.0).otherwise(1.0)
    common = F.cos(kind + _setting(simulation, "drift") * elapsed)
    interest = side * (0.5 * F.cos(likes - kind) + 0.7 * common)
    cost = F.col("_cost") * F.when(F.col("user_group") == "rare", 0.0).otherwise(0.5)
    logit = _setting(simulation, "click") + F.col("_quality") + interest - cost
    if simulation.search is not None:
        session, item = F.col("session_id"), F.col("item_id")
        shown = shown.withColumns(
            {"query": words.query(session, seed), "title": words.title(item, seed)}
        )
        logit = logit + words.meets(session, item, simulation.search, seed)
    if has_order(simulation):
        ahead = F.cos(kind - _wanted_direction(simulation, seed))
        logit = logit + _setting(simulation, "order") * ahead
        shown = shown.withColumn("_viewed", _viewed(simulation, seed))
    bait = F.lit(0.0)
    if (news := simulation.news) is not None:
        since = articles.published(F.col("item_id"), simulation.items, news, seed)
        shown = shown.withColumn("published_at", since + begin(simulation))
        bait = news.bait * _normal(seed, "bait", F.col("item_id"))
        passed = F.col("began_at") - begin(simulation)
        logit = logit + bait + articles.fading(passed, since, news)
    bot = F.col("bot")
    seen = bot | (
        uniform(seed, "seen", key) < F.pow(F.col("position"), -_setting(simulation, "eta"))
    )
    chance = F.when(bot, _setting(simulation, "bot_clicks")).otherwise(_sigmoid(logit))
    worth = _setting(simulation, "purchase") + 0.8 * F.col("_quality") - cost
    buys = _sigmoid(worth - bait if simulation.news else worth)
    mean = F.when(
        uniform(seed, "late", key) < _setting(simulation, "late"),
        _setting(simulation, "late_days") * 86400,
    ).otherwise(_setting(simulation, "hours") * _HOUR)
    mean = mean * F.exp(_setting(simulation, "late_price") * F.col("_cost"))
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
    shown = _with_returns(shown, simulation, key, seed)
    recorded = uniform(seed, "unrecorded", key) >= _setting(simulation, "unrecorded")
    spurious = uniform(seed, "spurious", key) < _setting(simulation, "spurious")
    return shown.withColumns(
        {
            "clicked_at": F.col("shown_at") + 5 + F.floor(uniform(seed, "pause", key) * 60),
            "wanted": F.col("_likes") & F.col("_buys") & ~F.col("returned"),
            "would_buy": F.col("clicked") & F.col("_buys"),
            "recorded": F.when(F.col("clicked") & F.col("_buys"), recorded).otherwise(spurious),
        }
    )


def _with_returns(shown: DataFrame, simulation: Simulation, key: Column, seed: int) -> DataFrame:
    """Adds whether a purchase is taken back, and how many seconds later."""
    if not has_refunds(simulation):
        return shown.withColumns(
            {"returned": F.lit(False), "return_delay": F.lit(None).cast("long")}
        )
    odds = F.log(_setting(simulation, "refunds")) - F.log(1 - _setting(simulation, "refunds"))
    returned = uniform(seed, "refund", key) < _sigmoid(odds - F.col("_quality"))
    mean = _setting(simulation, "refund_days") * 86400
    delay = F.floor(-F.log(uniform(seed, "refund delay", key)) * mean) + 60
    # The logarithm of 0 is null.
    return shown.withColumns(
        {"returned": F.coalesce(returned, F.lit(False)), "return_delay": delay}
    )


def has_refunds(simulation: Simulation) -> bool:
    """Whether purchases are taken back, in any world."""
    return any(_values(simulation, "refunds"))


def has_order(simulation: Simulation) -> bool:
    """Whether visitors look at categories before they see a list, in any world."""
    return any(_values(simulation, "order"))


def _viewed(simulation: Simulation, seed: int) -> Column:
    """The categories that a session looks at, in their order."""
    first = _middle(simulation, seed) - _way(seed)
    steps = F.array(*[F.lit(step) for step in range(3)])
    return F.transform(
        steps, lambda n: F.pmod(first + n * _way(seed), F.lit(simulation.categories)).cast("int")
    )


def _wanted_direction(simulation: Simulation, seed: int) -> Column:
    """The direction on the circle of categories that they lead to."""
    middle = _middle(simulation, seed) * (2 * math.pi / simulation.categories)
    return middle + _way(seed) * (math.pi / 2)


def _middle(simulation: Simulation, seed: int) -> Column:
    return F.floor(uniform(seed, "middle", F.col("session_id")) * simulation.categories)


def _way(seed: int) -> Column:
    """Which way a session goes around the circle, 1 or -1."""
    return F.when(uniform(seed, "way", F.col("session_id")) < 0.5, 1).otherwise(-1)


def _setting(simulation: Simulation, name: str) -> Column:
    """A setting of the world that a row belongs to."""
    return _by_world([F.lit(value) for value in _values(simulation, name)])


def _values(simulation: Simulation, name: str) -> list[float]:
    """A setting of each world."""
    default = float(getattr(simulation, name))
    return [float(world.get(name, default)) for world in simulation.worlds.values()] or [default]


def _sizes(simulation: Simulation, name: str) -> list[int]:
    """The number of sessions, users or items of each world."""
    return [int(value) for value in _values(simulation, name)]


def _starts(simulation: Simulation, name: str) -> list[int]:
    """Where the ids of each world begin, and where those of the last one end."""
    return [0, *accumulate(_sizes(simulation, name))]


def _first(simulation: Simulation, name: str) -> Column:
    """The first id of the world that a row belongs to."""
    return _by_world([F.lit(start).cast("long") for start in _starts(simulation, name)[:-1]])


def _world_of(session: Column, starts: list[int]) -> Column:
    """The number of the world that a session belongs to."""
    if len(starts) == 1:
        return F.lit(0).cast("long")
    begun = F.filter(F.array(*[F.lit(start) for start in starts]), lambda start: start <= session)
    return (F.size(begun) - 1).cast("long")


def world_name(simulation: Simulation) -> Column:
    """The name of a row's world."""
    return _by_world([F.lit(name) for name in simulation.worlds] or [F.lit("")])


def _by_world(values: list[Column]) -> Column:
    if len(values) == 1:
        return values[0]
    return F.element_at(F.array(*values), (F.col("_world") + 1).cast("int"))


def _quality(item: Column, seed: int) -> Column:
    return 0.6 * _normal(seed, "quality", item)


def _zipf(drawn: Column, sizes: list[int], exponent: float) -> Column:
    """Rank in [0, size) with P(rank) ~ (rank + 1)^-exponent, by the continuous inverse CDF."""
    power = 1 - exponent
    span = _by_world([F.lit((size + 1) ** power - 1) for size in sizes])
    rank = F.floor(F.pow(1 + drawn * span, F.lit(1 / power))) - 1
    return F.least(rank, _by_world([F.lit(size - 1) for size in sizes]))


def _normal(seed: int, stream: str, *keys: Column) -> Column:
    """A standard normal number, by the Box-Muller transform."""
    radius = F.sqrt(-2 * F.log(uniform(seed, f"{stream}-radius", *keys)))
    return radius * F.cos(2 * math.pi * uniform(seed, f"{stream}-angle", *keys))


def _sigmoid(logit: Column) -> Column:
    return 1 / (1 + F.exp(-logit))


def begin(simulation: Simulation) -> Column:
    """Start of the simulated log, in seconds since 1970."""
    return F.unix_seconds(F.lit(simulation.start).cast("timestamp"))
