"""The section ``simulation``: the size of a simulated log, and what goes wrong in it."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from reweight.core.section import Name, Place, Section

# Settings that can differ between worlds.
_WORLD_SETTINGS = (
    "sessions", "users", "items", "eta", "click", "purchase", "late", "hours", "late_days",
    "late_price", "unrecorded", "spurious", "refunds", "refund_days", "bots", "bot_clicks", "drift",
    "rare", "order",
)  # fmt: skip

# How many things the queries of a search ask for.
THINGS = 24


class Dirt(Section):
    """Planted faults, each a share of the events; all are added to the clean log.

    Attributes:
        duplicates: lines repeated verbatim.
        redelivered: events delivered again, with a later ``received_at``.
        malformed: truncated lines (JSON only).
        null_ids: events without a user.
        bad_prices: events with a negative price.
        future_times: events years in the future.
    """

    duplicates: float = Field(default=0.01, ge=0, le=1)
    redelivered: float = Field(default=0.01, ge=0, le=1)
    malformed: float = Field(default=0.002, ge=0, le=1)
    null_ids: float = Field(default=0.003, ge=0, le=1)
    bad_prices: float = Field(default=0.002, ge=0, le=1)
    future_times: float = Field(default=0.001, ge=0, le=1)


class Search(Section):
    """A log of a search engine: lists answer queries, and items have titles.

    Attributes:
        strength: how much more an item that was asked for is wanted, in units of the logit.
        hits: share of the items that are drawn among those that were asked for.
    """

    strength: float = Field(default=1.5, ge=0)
    hits: float = Field(default=0.5, ge=0, le=1)


class News(Section):
    """A log of a news site: items are articles that come and go.

    Attributes:
        life_days: how long an article is shown, before another one takes its place.
        fades: how much less an article is clicked at its end, in units of the logit.
        bait: how far titles promise more or less than an article is worth: standard deviation of
            what is added to the logit of a click and taken from that of a read.
    """

    life_days: float = Field(default=2.0, gt=0)
    fades: float = Field(default=2.0, ge=0)
    bait: float = Field(default=1.0, ge=0)


class Simulation(Section):
    """The section ``simulation``.

    Attributes:
        path: folder of the raw files; replaced.
        format: ``json`` (gzipped lines) or ``parquet``.
        by_day: whether the lines that are received on a day are in a folder of their own, such as
            ``day=2026-01-31``.
        sessions: number of sessions; each shows one ranked list.
        users: number of users; their popularity, like that of items, is Zipf-distributed.
        items: number of items.
        categories: number of item categories.
        start: first day, UTC.
        days: length of the log; later events are not in it.
        list_size: items shown per session.
        zipf: exponent of the popularity of users and items.
        eta: strength of position bias.
        click: intercept a of the click probability.
        purchase: intercept b of the purchase probability.
        late: share of purchases that take days instead of hours.
        hours: mean delay of the quick purchases, in hours.
        late_days: mean delay of the late purchases, in days.
        late_price: how much longer the purchase of expensive items takes: delays are multiplied by
            exp(late_price z), where z is the standardised logarithm of the price.
        unrecorded: share of purchases that are missing from the log.
        spurious: share of impressions with a purchase in the log that never happened.
        refunds: chance that the purchase of a mean item is taken back; better items come back less
            often. Above 0 in any world, the log has events ``refund``.
        refund_days: mean delay of a refund after its purchase, in days.
        bots: share of sessions that are bots.
        bot_clicks: probability that a bot clicks an item.
        drift: how far tastes rotate over the log, in radians.
        drift_from: number of days before they begin to.
        lost: day -> share of the sessions whose lines of this day are not in the log, as if some of
            the servers had not written it.
        rare: share of users in the rare segment.
        order: how much what a visitor wants depends on the order of what he looked at before: the
            amplitude in the log odds of a click. Above 0 in any world, every session begins with
            three events ``view`` of categories.
        worlds: name -> settings in which the world differs from the section, out of sessions,
            users, items, eta, click, purchase, late, hours, late_days, late_price, unrecorded,
            spurious, refunds, refund_days, bots, bot_clicks, drift, rare, order. Each world then
            has its own sessions, users and items, and a column ``world`` names the world of an
            event. If empty, there is one world and no such column.
        search: makes it the log of a search engine, with the columns ``query`` and ``title``, whose
            words say what is relevant; None for a shop without a search.
        news: makes it the log of a news site, with the column ``published_at``; a purchase is then
            a read. None for items that stay.
        dirt: planted faults.
    """

    path: Place
    format: Literal["json", "parquet"] = "json"
    by_day: bool = False
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
    refunds: float = Field(default=0.0, ge=0, lt=1)
    refund_days: float = Field(default=1.0, gt=0)
    bots: float = Field(default=0.02, ge=0, le=1)
    bot_clicks: float = Field(default=0.3, ge=0, le=1)
    drift: float = 0.8
    drift_from: int = Field(default=0, ge=0)
    lost: dict[date, Annotated[float, Field(ge=0, le=1)]] = {}
    rare: float = Field(default=0.05, ge=0, le=1)
    order: float = Field(default=0.0, ge=0)
    worlds: dict[Name, dict[str, float]] = {}
    search: Search | None = None
    news: News | None = None
    dirt: Dirt = Dirt()

    @field_validator("worlds")
    @classmethod
    def _known_settings(cls, worlds: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for name, settings in worlds.items():
            if unknown := sorted(set(settings) - set(_WORLD_SETTINGS)):
                raise ValueError(f"{name}: expected some of {list(_WORLD_SETTINGS)}, got {unknown}")
            try:
                cls(path="", **settings)
            except ValidationError as error:
                first = error.errors()[0]
                raise ValueError(f"{name}.{first['loc'][0]}: {first['msg']}") from error
        return worlds

    @model_validator(mode="after")
    def _one_kind(self) -> "Simulation":
        if self.news is not None and (self.search is not None or self.worlds):
            raise ValueError("`news` cannot be simulated with `search` or `worlds`; remove them")
        return self

    @model_validator(mode="after")
    def _turns_within_the_log(self) -> "Simulation":
        if self.drift_from >= self.days:
            raise ValueError(
                f"drift_from: expected fewer days than the log has ({self.days}), got "
                f"{self.drift_from}"
            )
        return self

    @model_validator(mode="after")
    def _has_all_things(self) -> "Simulation":
        fewest = min(world.get("items", self.items) for world in (*self.worlds.values(), {}))
        if self.search is not None and fewest < THINGS:
            raise ValueError(
                f"items: with `search` expected at least {THINGS}, one for each thing that queries "
                f"ask for, got {fewest:.0f}; write items: 500"
            )
        return self
