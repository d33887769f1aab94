"""Events that several days deliver: which one stays, and where the others are to be found.

Of rows with equal ``duplicates.keys`` one is an event, and the others are in ``rejected``, each
under the day that delivered it, as in one run over all days. The table ``events`` says which day
delivered the one that stayed, and ``Day.lost_to`` to which days a day lost rows. So two kinds of
days are read again with a day: those whose stored events lose to it, since only their files have
the raw rows, and those that lost rows to it, since these are events again if it no longer delivers
theirs.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from reweight.clean_logs import cleaning
from reweight.clean_logs.section import Cleaning
from reweight.core.errors import SourceError
from reweight.core.hashing import hash_values
from reweight.core.run_folder import RunFolder
from reweight.core.store import Store
from reweight.core.tables import EVENTS, REJECTED
from reweight.daily.days import (
    Day,
    check_columns,
    check_volume,
    in_days,
    literal,
    micros,
    since,
    unchanged,
    write_day,
)
from reweight.daily.delivery import DELIVERED, Delivery, delivered
from reweight.daily.section import Daily, cleaning_of

# Loser and winner, each as the day that delivered the row -> number of rows.
Losses = Mapping[tuple[date, date], int]


@dataclass(frozen=True)
class Settled:
    """What the days that are read together deliver, with each key once.

    Attributes:
        day: the day that is taken.
        rows: their rows and, in the days that they change, the events of other days; with the event
            columns, ``_reasons`` and the day that delivered them.
        days: what is known of each of them: of the day that is taken, then of those read again.
        changed: the days of their events.
        lost: number of rows of the day that is taken that lost to another day's.
    """

    day: date
    rows: DataFrame
    days: Mapping[date, Day]
    changed: tuple[date, ...]
    lost: int


@contextmanager
def settled(
    spark: SparkSession,
    delivery: Delivery,
    known: Mapping[date, Day],
    stored: Callable[[], DataFrame | None],
    section: Cleaning,
    daily: Daily,
) -> Iterator[Settled]:
    """Settles which rows of a day, and of the days that share keys with it, are events.

    Without ``duplicates.keys`` no other day is looked at, but for events in the days that change.

    Args:
        spark: the session.
        delivery: the day.
        known: what is known of the days, of an earlier attempt at this one too.
        stored: reads the events of the run, as ``stored_events`` does.
        section: the section ``cleaning``.
        daily: the section ``daily``.

    Raises:
        SourceError: another day has to be read again, and cannot be.
    """
    day = delivery.day.day
    taken = {day: delivery}
    waiting = _losers(day, known) if section.duplicates.keys else set()
    with ExitStack() as stack:
        while True:
            while waiting:
                other = waiting.pop()
                read = stack.enter_context(_again(spark, other, day, known, section, daily))
                taken[other] = read
                if not unchanged(known[other], read.day):
                    waiting |= _losers(other, known) - taken.keys()
            rows, losses = _merged(taken, known, stored, section, daily)
            # A stored event has no raw row, which `rejected` needs.
            waiting = {loser for loser, _ in losses} - taken.keys()
            if not waiting:
                break
        stayed = _stayed(rows, taken) if losses else {}
        days = {d: _noted(stayed.get(d, t.day), known.get(d), losses) for d, t in taken.items()}
        lost = sum(count for (loser, _), count in losses.items() if loser == day)
        yield Settled(day, rows, days, _changed(taken, known), lost)


def events_with(result: Settled, stored: DataFrame | None, section: Cleaning) -> DataFrame:
    """The events of the run as they are once those of the days are written.

    Args:
        result: what the days deliver.
        stored: the output of ``stored_events``.
        section: the section ``cleaning``.
    """
    new = cleaning.events(result.rows).select(*section.stored_columns)
    if stored is None:
        return new
    return stored.where(f"NOT ({in_days(result.changed)})").drop(DELIVERED).unionByName(new)


def write_settled(result: Settled, known: Mapping[date, Day], store: Store, to: RunFolder) -> None:
    """Writes the events and the rejected rows, so that a job killed meanwhile can do it again.

    What is known of the days is written first: the day that is taken as one that is running, with
    all that changes; others as they were, with what makes a second attempt read them again.
    """
    for day, new in result.days.items():
        if day == result.day:
            write_day(to, new.model_copy(update={"changed": result.changed}))
        else:
            found = {"changed": new.changed, "lost_to": new.lost_to}
            write_day(to, known[day].model_copy(update=found))
    listed = ", ".join(f"DATE '{day}'" for day in result.days)
    rejected = cleaning.rejected(result.rows, F.col(DELIVERED))
    # First the rejected rows: what is known of the events decides whether a day has to be repeated.
    store.write(REJECTED, rejected, where=f"day IN ({listed})")
    store.write(EVENTS, cleaning.events(result.rows), where=in_days(result.changed))


def note_done(result: Settled, known: Mapping[date, Day], to: RunFolder) -> None:
    """Notes that all tables are written; of the day that is taken last, since it tells that."""
    for day, new in reversed(list(result.days.items())):
        status = "done" if day == result.day else known[day].status
        write_day(to, new.model_copy(update={"status": status}))


def counted(result: Settled, delivery: Delivery) -> dict[str, Any]:
    """The counts of the day that is taken, with what other days made of its rows."""
    counts = dict(delivery.summary)
    if lost := result.lost:
        reasons = Counter(counts.get("reasons", {})) + Counter(duplicate_key=lost)
        counts["events"] -= lost
        counts["rejected"] += lost
        counts["reasons"] = dict(sorted(reasons.items()))
    others = sorted(day for day in result.days if day != result.day)
    return counts | ({"read again": ", ".join(map(str, others))} if others else {})


def stored_events(store: Store, section: Cleaning) -> DataFrame | None:
    """The events of the run, with the day that delivered them; None if it has written none yet."""
    if not store.exists(EVENTS):
        return None
    events = store.read(EVENTS, may_be_empty=True)
    names = (*section.stored_columns, DELIVERED)
    if {name.lower() for name in names} - {column.lower() for column in events.columns}:
        return None
    return events.select(*[F.col(name).alias(name) for name in names])


def _losers(day: date, known: Mapping[date, Day]) -> set[date]:
    """The days that lost rows to a day."""
    return {d for d, other in known.items() if day in other.lost_to and d != day}


@contextmanager
def _again(
    spark: SparkSession,
    other: date,
    day: date,
    known: Mapping[date, Day],
    section: Cleaning,
    daily: Daily,
) -> Iterator[Delivery]:
    """Reads another day than the one that is taken."""
    with ExitStack() as stack:
        try:
            read = stack.enter_context(delivered(spark, other, cleaning_of(other, section, daily)))
            if not unchanged(known[other], read.day):
                check_volume(read.day, known, daily)
                check_columns(read.day, known, daily)
        except SourceError as error:
            raise SourceError(
                f"{other} cannot be read again, and has events with the keys of events of {day}",
                expected="the files of a day for as long as later days may deliver its events "
                "(daily.reopen), to tell which are kept (cleaning.duplicates)",
                got=error.what,
                fix=f"bring back what {other} delivered, or deliver it anew with --day {other}; "
                "then start the job again; nothing was written",
            ) from error
        yield read


def _changed(taken: Mapping[date, Delivery], known: Mapping[date, Day]) -> tuple[date, ...]:
    """The days of events, now or in an earlier attempt, which lose what is no longer delivered."""
    days = [*[t.day for t in taken.values()], *[known[day] for day in taken if day in known]]
    return tuple(sorted({changed for day in days for changed in day.changed}))


def _stayed(rows: DataFrame, taken: Mapping[date, Delivery]) -> dict[date, Day]:
    """What is known of the days by the rows that stayed: those that lost are no end of the log."""
    counts = F.count("*").alias("events"), F.max(F.unix_micros("event_time")).alias("last")
    # Small: a row for each day.
    stayed = rows.where(F.size("_reasons") == 0).groupBy(DELIVERED).agg(*counts).collect()
    of_days = {row[0]: {"events": row["events"], "last": row["last"]} for row in stayed}
    none = {"events": 0, "last": 0}
    return {d: t.day.model_copy(update=of_days.get(d, none)) for d, t in taken.items()}


def _noted(new: Day, earlier: Day | None, losses: Losses) -> Day:
    """What is known of a day that was settled, and was before: more than is so costs time alone."""
    changed, lost_to = {*new.changed}, {winner for loser, winner in losses if loser == new.day}
    if earlier is not None:
        changed, lost_to = changed | {*earlier.changed}, lost_to | {*earlier.lost_to}
    return new.model_copy(
        update={"changed": tuple(sorted(changed)), "lost_to": tuple(sorted(lost_to))}
    )


def _merged(
    taken: Mapping[date, Delivery],
    known: Mapping[date, Day],
    stored: Callable[[], DataFrame | None],
    section: Cleaning,
    daily: Daily,
) -> tuple[DataFrame, Losses]:
    """The rows of the days that are read, and the events of others in the days that they change."""
    rows = reduce(DataFrame.unionByName, [t.rows for t in taken.values()])
    others = [d for key, d in known.items() if key not in taken]
    keys, changed = section.duplicates.keys, _changed(taken, known)
    is_shared = any({*d.changed} & {*changed} for d in others)
    events = stored() if is_shared or (keys and others) else None
    if events is None:
        return (rows, {}) if len(taken) == 1 else _of_each_key(rows, section)
    of_others = events.where(~F.col(DELIVERED).isin(*taken))
    inside = of_others.where(in_days(changed))
    with_inside = _added(rows, inside) if is_shared else rows
    if not keys:
        return with_inside, {}
    delivered_keys = rows.where(F.size("_reasons") == 0).select(*keys)
    near = of_others.where(_near(taken, daily)).join(delivered_keys, on=[*keys], how="left_semi")
    if len(taken) == 1 and near.isEmpty():
        return with_inside, {}
    outside = near.where(f"NOT ({in_days(changed)})")
    ranked, losses = _of_each_key(_added(with_inside, outside), section)
    return ranked.where(F.col("_source").isNotNull() | F.expr(in_days(changed))), losses


def _added(rows: DataFrame, events: DataFrame) -> DataFrame:
    none = F.array().cast("array<string>")
    return rows.unionByName(events.withColumn("_reasons", none), allowMissingColumns=True)


def _near(taken: Mapping[date, Delivery], daily: Daily) -> str:
    """The condition on events to be of days that may deliver events of the days taken again."""
    reach, late = timedelta(max(daily.reopen, 1)), timedelta(daily.reopen)
    first, last = min(taken) - reach, max(taken) + reach
    return (
        f"{DELIVERED} BETWEEN DATE '{first}' AND DATE '{last}' AND {since(micros(first - late))} "
        f"AND event_time < {literal(micros(last + timedelta(1)))}"
    )


def _of_each_key(rows: DataFrame, section: Cleaning) -> tuple[DataFrame, Losses]:
    """Rejects the rows of a key but one, as ``duplicate_key``.

    Of events with equal keys the one is kept that ``duplicates.prefer`` prefers, or else the one
    that came first. A day has each key once.
    """
    keys = section.duplicates.keys
    alone = ~(
        reduce(Column.__and__, [F.col(k).isNotNull() for k in keys]) & (F.size("_reasons") == 0)
    )
    content = hash_values(rows, [*section.stored_columns, "_raw"])
    spread = F.when(alone, F.xxhash64(*content))
    same_key = Window.partitionBy("_spread", *keys).orderBy(
        F.expr(section.prefer).asc_nulls_last(), DELIVERED
    )
    rows = rows.withColumn("_spread", spread)
    ranked = rows.withColumns(
        {"_turn": F.row_number().over(same_key), "_winner": F.first(DELIVERED).over(same_key)}
    )
    loses = F.col("_spread").isNull() & (F.col("_turn") > 1)
    # Small: a row for each pair of days that deliver equal keys.
    pairs = ranked.where(loses).groupBy(DELIVERED, "_winner").count().collect()
    twice = F.when(loses, F.array(F.lit("duplicate_key"))).otherwise(F.col("_reasons"))
    rows = ranked.withColumn("_reasons", twice).drop("_spread", "_turn", "_winner")
    return rows, {(row[0], row[1]): row[2] for row in pairs}
