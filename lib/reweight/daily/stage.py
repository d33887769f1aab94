"""The stage daily, which runs on its own.

Reads:
    What a day delivers (``daily.paths``, ``daily.where``), and the models, feature statistics and
    weight policies of the run ``model_run_id``, none of which is fitted again; on the first day
    also that run's ``events`` before ``daily.first``, and with ``sampling.label.attribute: first``
    on each day whose samples may be second to one of these.

Writes:
    The day's rows of ``events``, ``rejected`` and ``history``; in ``samples`` and ``weights`` those
    from the first sample on that changes: the day's own, those whose label window was open or
    reaches a new event, and those after an event that came late. ``days/<day>.json`` says what is
    known of the day. Days that deliver events of equal keys are read again and written with it, if
    that changes which of them is kept.

Refuses:
    A run that the pipeline has made, as the pipeline refuses one of days. Before anything of a day
    is written: days before ``daily.first``, without files or without events, with far more rows
    than the days before (``daily.largest``), or with other columns; a day after one that was begun
    and not finished; models of other features or settings of methods, or that were fitted again
    since the first day; settings that changed since then; samples with the id of an earlier one;
    and what the stages clean_logs, build_samples and score_weights refuse.
"""

import json
from collections.abc import Mapping
from datetime import date
from functools import partial, reduce
from typing import Any

from pyspark.sql import DataFrame

from reweight.build_samples import sampling
from reweight.build_samples.encoding import check_stats
from reweight.build_samples.feature_stats import FeatureStats, read_stats
from reweight.build_samples.history_table import history_rows, lookback
from reweight.clean_logs.events import read_events
from reweight.config import Run
from reweight.core.digest import digest
from reweight.core.errors import ConfigError, TableError
from reweight.core.files import content_hash, write_json
from reweight.core.left_out import Refusals, left_out, record_left_out, refused_by, without
from reweight.core.session import planned_for
from reweight.core.tables import HISTORY, SAMPLES, WEIGHTS
from reweight.daily.days import (
    Day,
    check_columns,
    check_days,
    check_settings,
    check_volume,
    in_days,
    micros,
    read_days,
    reopened,
    since,
    unchanged,
    usual_rows,
)
from reweight.daily.delivery import delivered
from reweight.daily.kind_of_run import check_not_whole
from reweight.daily.samples import events_since, samples_since
from reweight.daily.section import Daily, cleaning_of, row_rules
from reweight.daily.shared_keys import (
    Settled,
    counted,
    events_with,
    note_done,
    settled,
    stored_events,
    write_settled,
)
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.score_weights.models import read_models
from reweight.score_weights.policy import PolicyStats
from reweight.score_weights.policy_files import read_policies
from reweight.score_weights.rows import weight_rows
from reweight.score_weights.scoring import check_labelled, scored


def daily(run: Run) -> dict[str, Any]:
    """Adds the log of one or several days to a run: events, samples and weights."""
    section = _section(run)
    check_days(section.days, section, read_days(run.folder))
    check_not_whole(run.folder)
    reference = _Reference(run)
    _begin(run, section, reference)
    summary: dict[str, Any] = {}
    window = run.config.sampling.label.settles or 0
    for day in section.days:
        with planned_for(run.spark, usual_rows(day, read_days(run.folder), window)):
            summary[str(day)] = _process_day(run, section, reference, day)
        run.say(f"{day}: {_summary_line(summary[str(day)])}")
    return summary


class _Reference:
    """The models of the run ``model_run_id``, with all that belongs to them."""

    def __init__(self, run: Run) -> None:
        config, folder = run.config, run.config.model_folder
        reasons = left_out(folder, before="train_ranker")
        self.methods: tuple[ImportanceMethod, ...] = without(config.importance, reasons)
        self.stats: FeatureStats = read_stats(folder.features)
        check_stats(config.features, self.stats)
        self.models: Mapping[str, ModelArtifact] = read_models(
            folder.models, self.methods, folder.features
        )
        self.policies: Mapping[str, PolicyStats] = read_policies(
            folder.models, config.weighting, self.methods
        )
        parts = [content_hash(folder.models.model(method.name)) for method in self.methods]
        self.version = digest(content_hash(folder.features), *parts)


def _section(run: Run) -> Daily:
    section = run.config.daily
    if section is None:
        raise ConfigError(
            "the config has no section `daily`",
            expected="the first day, and where the rows of a day are",
            got="none",
            fix='write daily: {first: "2026-02-01", paths: {log: "raw/day={day}"}}',
        )
    return section


def _begin(run: Run, section: Daily, reference: _Reference) -> None:
    """Notes what all days have in common, and counts the events before the first one.

    Until a day has been begun, all of it may still change.
    """
    config, path = run.config, run.folder.series
    parts = {
        "first": section.first,
        "seed": config.seed,
        "models": f"{config.model_run_id}, {reference.version}",
        **row_rules(config.cleaning, section),
        "sampling": config.sampling.model_dump(mode="json"),
        "splits": config.splits.model_dump(mode="json"),
        "features": config.features.model_dump(mode="json"),
        "weighting": config.weighting.identity(),
        "importance": [method.model_dump(mode="json") for method in config.importance],
    }
    common = {name: digest(json.dumps(value, default=str)) for name, value in parts.items()}
    if path.exists() and read_days(run.folder):
        noted = json.loads(path.read_text())
        check_settings(common, noted, config.run_id)
        if common.keys() - noted.keys():
            write_json(path, common)
        return
    write_json(run.folder.features, reference.stats.model_dump())
    for stage in ("fit_importance", "score_weights"):
        record_left_out(run.folder, stage, refused_by(config.model_folder, stage))
    _count_before(run, section)
    write_json(path, common)


def _count_before(run: Run, section: Daily) -> None:
    """Counts the events that the other run has of the days before the first one."""
    config = run.config
    if not config.features.history:
        return
    events = read_events(run.store, config.cleaning, config.model_run_id)
    before = events.where(f"NOT ({since(micros(section.first))})")
    sampling.check_sampling(before, config.sampling)
    rows = [
        history_rows(before, name, history, lookback(history, section.first))
        for name, history in config.features.history.items()
    ]
    run.store.write(HISTORY, reduce(DataFrame.unionByName, rows))


def _process_day(run: Run, section: Daily, reference: _Reference, day: date) -> dict[str, Any]:
    config, delivered_days = run.config, read_days(run.folder)
    day_cleaning = cleaning_of(day, config.cleaning, section)
    with delivered(run.spark, day, day_cleaning) as delivery:
        new, earlier = delivery.day, delivered_days.get(day)
        if earlier and earlier.status == "done" and unchanged(earlier, new):
            return {"skipped": "it was delivered before, and nothing has changed"}
        check_volume(new, delivered_days, section)
        check_columns(new, delivered_days, section)
        stored = partial(stored_events, run.store, config.cleaning)
        with settled(
            run.spark, delivery, delivered_days, stored, config.cleaning, section
        ) as result:
            known = {**delivered_days, **result.days}
            new = known[day].model_copy(update={"changed": result.changed})
            window = config.sampling.label.settles or 0
            opened = reopened(new, known, window, section.first)
            counts = _write(run, section, reference, result, delivered_days, opened)
    written = _write_weights(run, reference, opened[0], counts["samples"])
    note_done(result, delivered_days, run.folder)
    days = sorted(d for d in known if micros(d) + 86400 * 10**6 > opened[0] and d != day)
    again = {"opened again": ", ".join(map(str, days))} if days else {}
    return {**counted(result, delivery), **counts, "weights": written, **again}


def _write(
    run: Run,
    section: Daily,
    reference: _Reference,
    result: Settled,
    delivered_days: Mapping[date, Day],
    opened: tuple[int, int],
) -> dict[str, Any]:
    """Writes the events and the samples, once the samples are made: nothing if one is refused."""
    config, store = run.config, run.store
    own_events = events_with(result, stored_events(store, config.cleaning), config.cleaning)
    before = section.first, config.model_run_id
    of_samples = config.cleaning, config.sampling, opened[0], *before
    events, first = events_since(store, own_events, *of_samples)
    sections = (config.sampling, config.features, config.splits)
    new_samples = samples_since(
        store, events, opened, first, sections, reference.stats, config.seed
    )
    with new_samples as (samples, summary):
        check_labelled(reference.methods, samples, Refusals())
        kept = sampling.kept_types(events, config.sampling)
        write_settled(result, delivered_days, store, run.folder)
        write_json(run.folder.kept, kept)
        if config.features.history:
            _write_history(run, result.changed)
        store.write(SAMPLES, samples, where=since(opened[0]))
    return summary


def _write_history(run: Run, days: tuple[date, ...]) -> None:
    events = read_events(run.store, run.config.cleaning).where(in_days(days))
    rows = [history_rows(events, n, h) for n, h in run.config.features.history.items()]
    listed = ", ".join(f"DATE '{day}'" for day in days)
    run.store.write(HISTORY, reduce(DataFrame.unionByName, rows), where=f"day IN ({listed})")


def _write_weights(run: Run, reference: _Reference, opened: int, count: int) -> int:
    config = run.config
    samples = run.store.read(SAMPLES).where(since(opened))
    if (rows_read := samples.count()) != count:
        raise TableError(
            "the samples that were made and those in the table do not match",
            expected=f"{count} samples",
            got=f"{rows_read}",
            fix="start the day again: the samples may have been rewritten meanwhile",
        )
    columns = ("sample_id", "split", "event_time", *config.weighting.reads)
    columns = (*columns, *config.sampling.counted)
    rows = scored(samples, reference.models, columns)
    weights = weight_rows(rows, config.weighting, reference.policies, in_sample=False)
    # The count of a commit that replaces a part includes rows that it copies.
    run.store.write(WEIGHTS, weights, where=since(opened))
    return count * len(reference.policies)


def _summary_line(summary: Mapping[str, Any]) -> str:
    """One short line while days pass; the summary at the end has all of it."""
    if "skipped" in summary:
        return str(summary["skipped"])
    line = f"{summary['events']:,} events, {summary['samples']:,} samples written"
    again = summary.get("opened again")
    return f"{line}, opened again {again}" if again else line
