"""The samples of the newest days, by the functions that make those of a whole log."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples import checks, encoding, negatives, raw_samples, sampling, splits
from reweight.build_samples.embeddings import embedded
from reweight.build_samples.feature_stats import FeatureStats
from reweight.build_samples.features import Features
from reweight.build_samples.history_table import earlier_rows
from reweight.build_samples.sampling import Sampling
from reweight.build_samples.splits import Splits
from reweight.clean_logs.events import read_events
from reweight.clean_logs.section import Cleaning
from reweight.core.errors import SampleError
from reweight.core.persisted import persisted
from reweight.core.store import Store
from reweight.core.tables import HISTORY, SAMPLES
from reweight.daily.days import micros, of_micros, since


def events_since(
    store: Store,
    own_events: DataFrame,
    cleaning: Cleaning,
    sampling: Sampling,
    opened: int,
    first: date,
    model_run_id: str | None,
) -> tuple[DataFrame, date]:
    """The events that decide about the samples from a time on.

    If a label event counts for one of several samples, it may be one before that time; if it counts
    for the first of them, even one before the first day, which the other run has.

    Args:
        store: the tables.
        own_events: the events of the run itself.
        cleaning: the section.
        sampling: the section.
        opened: from when on samples are made, microseconds since 1970.
        first: the first day of the run.
        model_run_id: the run that has the days before.

    Returns:
        The events, and the first day of those of the run itself.

    Raises:
        TableError: the other run has no events.
    """
    window = (sampling.label.window or 0) if sampling.label.attribute else 0
    begin = of_micros(opened - window * 10**6)
    day = max(begin, first)
    events = own_events.where(since(micros(day)))
    if begin < first and sampling.label.attribute == "first":
        before = read_events(store, cleaning, model_run_id).where(since(micros(begin)))
        events = events.unionByName(before.where(f"NOT ({since(micros(first))})"))
    return events, day


@contextmanager
def samples_since(
    store: Store,
    events: DataFrame,
    opened: tuple[int, int],
    day: date,
    sections: tuple[Sampling, Features, Splits],
    stats: FeatureStats,
    seed: int,
) -> Iterator[tuple[DataFrame, dict[str, Any]]]:
    """The samples from a time on, as rows of the table, and counts for the summary.

    Args:
        store: the tables.
        events: the events of ``events_since``.
        opened: from when on samples are made, and when the log ends, microseconds since 1970.
        day: the first day whose events histories count; the table ``history`` has those before.
        sections: the sections ``sampling``, ``features`` and ``splits``.
        stats: statistics of the features.
        seed: of the run.

    Raises:
        SampleError: as in the stage build_samples, or an id is that of an earlier sample.
    """
    rules, features, split = sections
    sampling.check_sampling(events, rules)
    log_end = F.timestamp_micros(F.lit(opened[1]).cast("long"))
    labelled = raw_samples.labelled(events, rules, features, split, log_end)
    labelled = labelled.where(since(opened[0]))
    anchors = events.where(rules.anchor).where(since(opened[0]))
    # The keys of the samples are asked for once for each history.
    with (
        embedded(store, anchors, features.text) as embeddings,
        persisted(labelled) as samples,
    ):
        raw = samples.transform(
            encoding.with_raw_features,
            events.where(since(micros(day))),
            features,
            embeddings,
            _earlier(store, features, day),
        )
        with persisted(raw) as prepared:
            facts = raw_samples.facts(prepared, rules, features)
            checks.check_labels(prepared, facts["unread"])
            if twice := facts["rows"] - facts["ids"]:
                raise _repeated(f"those of {twice} samples since {of_micros(opened[0])} once more")
            checks.check_samples(facts)
            check_new(store, prepared, rules, opened[0])
            negatives.check_rates(facts)
            cuts = splits.split_cuts(prepared, split)
            windows = rules.label.window, cuts, rules.label.undo_window
            parts = prepared.transform(splits.with_split, split, seed, *windows)
            encoded = parts.transform(encoding.with_features, features, stats)
            summary = {
                "samples": facts["rows"],
                "mature": facts["mature"],
                "positives": facts["positives"],
            }
            yield raw_samples.table_rows(encoded), summary


def check_new(store: Store, samples: DataFrame, sampling: Sampling, opened: int) -> None:
    """Checks that no sample from a time on has the id of one before it.

    Args:
        store: the tables; only ids are read of the samples before.
        samples: those from that time on.
        sampling: the section.
        opened: the time, microseconds since 1970.

    Raises:
        SampleError: some have.
    """
    # Samples at different times have different ids if the time is in the key, as in a whole row.
    if not sampling.key or "event_time" in map(str.lower, sampling.key):
        return
    if not store.exists(SAMPLES):
        return
    before = store.read(SAMPLES, may_be_empty=True).where(f"NOT ({since(opened)})")
    ids = before.select("sample_id").join(samples.select("sample_id"), "sample_id", "left_semi")
    if repeated := ids.count():
        raise _repeated(f"those of {repeated} samples before {of_micros(opened)} once more")


def _repeated(got: str) -> SampleError:
    # On a later day, the key of the first one cannot change any more.
    return SampleError(
        "sample_id is not unique",
        expected="values of `sampling.key` that no other sample of the run has",
        got=got,
        fix="deliver the day again without the events that repeat them; or write another run_id, "
        "and add the column that distinguishes the samples to `sampling.key`, such as event_time; "
        "nothing was written",
    )


def _earlier(store: Store, features: Features, day: date) -> Mapping[str, DataFrame]:
    if not features.history:
        return {}
    table = store.read(HISTORY, may_be_empty=True)
    return {name: earlier_rows(table, name, h, day) for name, h in features.history.items()}
