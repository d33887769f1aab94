"""The stage diagnose, which runs on its own after build_samples and before any model.

Reads:
    The tables ``events`` and ``samples``.

    Labels are those of all mature rows, test rows included; models of the label are fitted on
    training rows alone.

Writes:
    ``diagnose.html`` and ``diagnose.json``: a verdict, numbers, and methods to try for each
    fault.

Refuses:
    Tables without rows of this run. A fault that cannot be seen in this log is not refused: the
    page names what the log or its config lacks.
"""

from collections.abc import Callable, Iterable
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples import labels, sampling, splits
from reweight.build_samples.collapse import collapsed, event_columns
from reweight.build_samples.feature_stats import read_stats
from reweight.build_samples.features import Features
from reweight.build_samples.negatives import were_sampled
from reweight.build_samples.sampling import Sampling
from reweight.build_samples.shared_labels import read_label_events
from reweight.clean_logs.events import read_events
from reweight.config import Run
from reweight.core.files import write_json
from reweight.core.hashing import hashable, uniform
from reweight.core.persisted import persisted
from reweight.core.revision import revision
from reweight.core.tables import SAMPLES
from reweight.diagnose import bursts, delay, drift, groups, needs, position, relation
from reweight.diagnose.findings import Finding, content, lines
from reweight.diagnose.plots import plots
from reweight.diagnose.settled import settling, with_settled
from reweight.report import page

# Training rows that models are fitted on: more rows do not change a verdict.
_MODELLED = 1_000_000


def diagnose(run: Run) -> dict[str, Any]:
    """Reports which faults visibly distort the labels, how strongly, and what to try.

    It reads `events` and `samples`, and writes `diagnose.html` and `diagnose.json`.
    """
    times = run.config.cleaning.times
    for need in needs.lacking(run.config.sampling, run.config.features, times):
        run.say(need)
    events = read_events(run.store, run.config.cleaning)
    events = collapsed(events, run.config.sampling.collapse)
    with persisted(run.store.read(SAMPLES)) as samples:
        rows = samples.count()
        sampled = were_sampled(run.config.sampling)
        findings = content(_findings(run, events, samples), sampled)
    visible = [finding["mechanism"] for finding in findings if finding["verdict"] == "visible"]
    values = {
        "run_id": run.config.run_id,
        "rows": rows,
        "revision": revision(),
        "visible": visible,
        "findings": findings,
    }
    write_json(run.folder.content("diagnose"), values)
    path = run.folder.page("diagnose")
    path.write_text(page.rendered("diagnose.html.j2", values | {"plots": plots(values)}))
    for line in lines(findings):
        run.say(line)
    return {"visible": ", ".join(visible) or "nothing", "report": str(path)}


def _findings(run: Run, events: DataFrame, samples: DataFrame) -> list[Finding]:
    section, seed = run.config.sampling, run.config.seed
    settles = settling(samples, section.label)
    samples = with_settled(samples, settles)
    mature = samples.where("mature")
    names = read_stats(run.folder.features).names
    columns = drift.Columns(names, drift.steady(names, run.config.features), seed)
    times = run.config.cleaning.times
    with persisted(_halves(samples, seed, times)) as halves:
        run.say("fitting models of the label")
        labelled = halves.withColumn("late", F.col("late_label"))
        judged = relation.crossed(labelled, columns.modelled, seed)
        items = _with_item_hashes(mature, events, section, run.config.features)
        rates = _rates(section, run.config.features)
        steps: dict[str, Callable[[], Iterable[Finding]]] = {
            position.NAME: lambda: [
                position.position_bias(
                    items,
                    list(run.config.features.categorical),
                    read_label_events(run.folder.labels),
                )
            ],
            delay.NAME: lambda: delay.delayed_labels(
                samples, section.label.window, section.label.value is None, settles
            ),
            groups.NAME: lambda: [groups.rare_groups(mature, judged)],
            bursts.NAME: lambda: [
                bursts.bursts_and_bots(events, section.group, rates, _contents(events, section))
            ],
            drift.RATE: lambda: [drift.rate_drift(mature, settles)],
            drift.FEATURES: lambda: [drift.feature_drift(halves, columns)],
            drift.RELATION: lambda: [
                drift.relation_drift(judged, [names[i] for i in columns.modelled], settles)
            ],
        }
        by_mechanism: dict[str, Finding] = {}
        for number, (name, step) in enumerate(steps.items(), 1):
            run.say(f"[{number}/{len(steps)}] {name}")
            unseen = name in needs.TIMED and not times
            findings = [needs.untimed(name)] if unseen else step()
            by_mechanism |= {finding.mechanism: finding for finding in findings}
        # What no log shows comes last.
        by_mechanism[delay.MISSING] = by_mechanism.pop(delay.MISSING)
        return list(by_mechanism.values())


def _contents(events: DataFrame, section: Sampling) -> list[str]:
    """Columns in which an event equals another one that it repeats: all but time and identity."""
    named = set(event_columns(events)) - {"event_time", *section.key}
    return [name for name in hashable(events) if name in named]


def _with_item_hashes(
    mature: DataFrame, events: DataFrame, section: Sampling, features: Features
) -> DataFrame:
    """Replaces each categorical id by a 64-bit hash of its value.

    Ids are buckets: if good and poor items share one, the good ones rank higher within it, as they
    do in the whole log.
    """
    if "position" not in section.keep or not features.categorical:
        return mature
    hashes = [F.xxhash64(F.expr(f.value).cast("string")) for f in features.categorical.values()]
    anchors = events.where(section.anchor).transform(sampling.with_identity, section)
    values = anchors.select("sample_id", F.array(*hashes).alias("ids"))
    return mature.drop("ids").join(values, on="sample_id", how="inner")


def _halves(samples: DataFrame, seed: int, times: bool) -> DataFrame:
    """Training rows with ``late``: 0 for the earlier half by time, 1 for the later.

    ``late_label`` halves the mature ones of them. In a log without times, both are null.
    """
    train = samples.where("split = 'train'")
    share = min(1.0, _MODELLED / max(1, train.count()))
    train = train.where(uniform(seed, "diagnose", "group_id") <= share)
    halves = {"late": train, "late_label": train.where("mature")}
    late = dict.fromkeys(halves, F.lit(None).cast("int"))
    if times:
        for name, rows in halves.items():
            (cut,) = splits.time_cuts(rows, (0.5,))
            late[name] = (F.unix_seconds("event_time") >= cut).cast("int")
    columns = ("group_id", "segment", "features", "label", "mature")
    return train.select(*columns, *[column.alias(name) for name, column in late.items()])


def _rates(section: Sampling, features: Features) -> dict[str, tuple[str, str]]:
    """The rates that bots may exceed: the label rate, and those that the features declare."""
    rates = {"label rate": (labels.label_event(section), section.anchor)}
    for history in features.history.values():
        for name, (above, below) in history.rates.items():
            pair = (history.counts[above], history.counts[below])
            if pair not in rates.values():
                rates[name] = pair
    return rates
