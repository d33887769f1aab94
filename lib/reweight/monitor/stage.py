"""The stage monitor, which runs on its own after score_weights.

Reads:
    The tables ``samples`` and ``weights`` of this run, and those of the training split of the
    reference run; how many samples of all splits the reference has; its ranker that was trained
    with uniform weights, and its AUC in ``metrics``, if it has them.

Writes:
    The table ``monitoring``: the days that were looked at replace what was there of them; and
    ``monitor.html`` with ``monitor.json``: all days so far.

Refuses:
    Logs without times, days before the reference window, and a reference with other features.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import feature_quantiles, read_stats
from reweight.config import Run
from reweight.core.asked_days import EPOCH
from reweight.core.baselines import BASELINE
from reweight.core.errors import MonitoringError
from reweight.core.files import write_json
from reweight.core.kept import kept_types
from reweight.core.left_out import left_out, without
from reweight.core.persisted import persisted
from reweight.core.revision import revision
from reweight.core.run_folder import RunFolder
from reweight.core.small_rows import frame_of
from reweight.core.tables import MONITORING, SAMPLES
from reweight.diagnose.drift import steady
from reweight.importance.base import columns_scored_by
from reweight.monitor import days, measures
from reweight.monitor.days import Layout
from reweight.monitor.histograms import counted, edges_of
from reweight.monitor.measures import REFERENCE
from reweight.monitor.page import content, render
from reweight.monitor.ranking import Ranked, orders, usual_auc
from reweight.train_ranker.rows import with_columns


def monitor(run: Run) -> dict[str, Any]:
    """Compares each day of samples and weights with the training rows of the reference.

    The volume is compared with that of all its samples, on the days that have training rows.
    The exit status of the job says which kind of alarm there is; 0 is none.
    """
    config, section = run.config, run.config.monitoring
    reference = section.reference or config.model_run_id or config.run_id
    if not config.cleaning.times:
        raise MonitoringError(
            "the log has no times",
            expected="event_time in cleaning.columns",
            got="none, so that there are no days",
            fix="add event_time, or compare whole runs by their reports",
        )
    names = _features(run, reference)
    methods = without(config.importance, left_out(run.folder, before="train_ranker"))
    methods = tuple(method for method in methods if method.name != BASELINE)
    weighed = tuple(method.name for method in methods)
    reads = columns_scored_by(config.importance)
    by_age = {name for name in weighed if {"elapsed", "mature"} & reads[name]}
    places = steady(names, config.features)
    values = partial(days.with_values, run.store, methods=weighed, by_age=by_age)
    before = values(reference).where("split = 'train'")
    now = days.within(values(config.run_id), section.span)
    with persisted(before) as reference_rows, persisted(now) as rows:
        layout = Layout(names, places, weighed, days.largest_segments(reference_rows))
        samples = days.with_day(run.store.read(SAMPLES, reference))
        window = days.window(samples, layout.segments)
        _check_first(run, reference, window.first)
        counts = counted(
            _marked(reference_rows, rows, layout), _edges(reference_rows, layout, section.bins)
        )
        volume = counts[counts["variable"] == layout.quantiles].groupby("day")["n"].sum()
        by_day = dict(zip(volume.index.astype(int), volume.astype(float), strict=True))
        chosen = places or tuple(range(len(names)))
        areas = days.areas(reference_rows, rows, by_day, chosen, config.seed)
        ranked = _ranked(run, reference, rows)
    reported = days.days_to_report([day for day in by_day if day != REFERENCE], section.span)
    sources = days.raw_rows(run.folder)
    measured_rows = measures.measured(
        counts, layout.variables, reported, window.volume, areas, ranked, section, sources
    )
    _write(run, measured_rows)
    return _reported(run, reference, measured_rows)


def _features(run: Run, reference: str) -> tuple[str, ...]:
    folder = RunFolder.of(run.config.root, reference)
    names, reference_names = (read_stats(place.features).names for place in (run.folder, folder))
    if names != reference_names:
        raise MonitoringError(
            f"run '{reference}' has other features",
            expected=f"the features of run '{run.config.run_id}'",
            got="in one run alone, or in another order: "
            f"{sorted({*names} ^ {*reference_names})[:10]}",
            fix="write monitoring: {reference: ...}, the run whose models score these samples",
        )
    return names


def _ranked(run: Run, reference: str, rows: DataFrame) -> Ranked:
    """How well the reference's first ranker orders the days; nothing of one that has none."""
    config, folder = run.config, RunFolder.of(run.config.root, reference)
    ranker, confidence = config.rankers[0], config.evaluation.confidence
    usual = usual_auc(run.store, reference, ranker.name, BASELINE, confidence)
    if usual is None:
        return Ranked()
    sizes = read_stats(folder.features).sizes
    rows = with_columns(rows, ranker.columns(), sizes, kept_types(run.folder))
    fitted = ranker.load(folder.ranker(ranker.name, BASELINE))
    return Ranked(*usual, orders(rows, fitted))


def _check_first(run: Run, reference: str, first: int | None) -> None:
    span_begin = run.config.monitoring.span[0]
    if span_begin is not None and first is not None and (span_begin - EPOCH).days < first:
        begin = EPOCH + timedelta(days=first)
        raise MonitoringError(
            f"the day {span_begin} is before the reference window",
            expected=f"days from {begin} on, when the training split of '{reference}' begins",
            got=str(span_begin),
            fix=f"--from {begin}, or another monitoring.reference",
        )


def _marked(before: DataFrame, now: DataFrame, layout: Layout) -> DataFrame:
    values = layout.values.alias("values")
    reference = before.select(F.lit(REFERENCE).alias("day"), values)
    return reference.unionByName(now.select("day", values))


def _edges(reference: DataFrame, layout: Layout, bins: int) -> list[tuple[float, ...]]:
    rows = reference.select("sample_id", layout.measured.alias("features"))
    quantiles = feature_quantiles(rows, reference.count(), bins)
    cut = [edges_of(points) for points in quantiles]
    # One bin for what is counted or averaged.
    return [*cut, *[()] * (len(layout.variables) - layout.quantiles)]


def _write(run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    first, last = (end(row["day"] for row in rows) for end in (min, max))
    where = f"day >= DATE'{first}' AND day <= DATE'{last}'"
    run.store.write(MONITORING, frame_of(run.spark, MONITORING, rows), where=where)


def _reported(run: Run, reference: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    raised = measures.alarms(rows)
    days = sorted({str(row["day"]) for row in rows})
    last_report = {
        "run_id": run.config.run_id,
        "reference": reference,
        "days": days,
        "alarms": [dict(row) | {"day": str(row["day"])} for row in raised],
        "exit": measures.exit_status(rows),
    }
    # Small by nature: some numbers per day.
    stored = run.store.read(MONITORING, may_be_empty=True) if rows else None
    frame = stored.drop("run_id").toPandas() if stored is not None else None
    values = content(run.config.run_id, reference, frame, last_report) | {"revision": revision()}
    write_json(run.folder.content("monitor"), values)
    page = run.folder.page("monitor")
    page.write_text(render(values))
    kinds: dict[str, int] = {}
    for row in raised:
        kinds[row["measure"]] = kinds.get(row["measure"], 0) + 1
    return {"days": len(days), "alarms": kinds, "exit": last_report["exit"], "report": str(page)}
