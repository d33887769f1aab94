"""The stage build_samples.

Reads:
    The table ``events``; with ``model_run_id`` or ``warm_start`` also the feature statistics of
    that run; with ``features.text`` the table ``texts``.

Writes:
    The table ``samples``; with ``features.text`` the vectors of texts that no run has encoded yet,
    to the table ``texts``; ``features.json``: names, means, scales and vocabularies of the training
    split alone; and ``labels.json``: how many label events there are, and how many of them several
    samples share.

Refuses:
    Expressions that do not fit the events or fail on a row, a log without samples, ids that are not
    unique, samples without a group, labels that are neither 0 nor 1, rates of sampling outside
    (0, 1] or below 1 for a positive, encoders that are not installed, and statistics of other
    features or encoders. Without ``model_run_id`` also samples of only one class, an empty part of
    the split, cuts in time outside the log, features without a value in the training split, and
    more features than ``features.dim``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples import (
    checks,
    encoding,
    feature_stats,
    known_labels,
    negatives,
    raw_samples,
    sampling,
    splits,
)
from reweight.build_samples.collapse import LONE, collapsed
from reweight.build_samples.embeddings import embedded
from reweight.build_samples.feature_stats import read_stats
from reweight.build_samples.shared_labels import LabelEvents
from reweight.clean_logs.events import read_events
from reweight.config import Run, RunConfig
from reweight.core.files import content_hash, write_json
from reweight.core.persisted import persisted
from reweight.core.run import leaves, reads
from reweight.core.sequences import SequenceShape
from reweight.core.tables import SAMPLES


def features_of_models(run: Run) -> dict[str, str | None]:
    """With ``model_run_id`` or ``warm_start``, the feature statistics of that run."""
    run_id = run.config.statistics_run_id
    if run_id is None:
        return {}
    return {f"features of {run_id}": content_hash(run.config.statistics_folder.features)}


def statistics(run: Run) -> dict[str, str | None]:
    """What is known of the samples beside their table."""
    files = (run.folder.features, run.folder.kept, run.folder.labels)
    return {path.name: content_hash(path) for path in files}


@reads(features_of_models)
@leaves(statistics)
def build_samples(run: Run) -> dict[str, Any]:
    """Turns events into samples: label, split, features that use only what was known before."""
    config = run.config
    events = collapsed(read_events(run.store, config.cleaning), config.sampling.collapse)
    sampling.check_sampling(events, config.sampling)
    log_end, lone = _extent(events, config)
    labelled = raw_samples.labelled(
        events, config.sampling, config.features, config.splits, log_end
    )
    cuts: list[int] = []
    if config.splits.open_windows == "train" and config.sampling.label.undo:
        cuts = splits.split_cuts(labelled, config.splits)
        labelled = known_labels.with_known_times(labelled, events, config.sampling, cuts[0])
    types = sampling.kept_types(events, config.sampling)
    anchors = events.where(config.sampling.anchor)
    with embedded(run.store, anchors, config.features.text) as embeddings:
        samples = labelled.transform(
            encoding.with_raw_features, events, config.features, embeddings
        )
        with persisted(samples) as prepared:
            summary = _encoded(run, prepared, types, cuts)
    if lone:
        keys = ", ".join(config.sampling.collapse.keys if config.sampling.collapse else ())
        summary["not merged"] = f"{lone:,} events have a null in {keys} (sampling.collapse.keys)"
    return summary | ({"texts": dict(embeddings.summary)} if embeddings else {})


def _extent(events: DataFrame, config: RunConfig) -> tuple[Column, int]:
    """The time of the last event, null if the log has no times; and how many were not merged."""
    collapse, times = config.sampling.collapse, config.cleaning.times
    if not times and collapse is None:
        return F.lit(None).cast("timestamp"), 0
    # As numbers: timestamps would be converted to the driver's own time zone.
    micros = F.unix_micros("event_time") if times else F.lit(None).cast("long")
    lone = F.count(LONE) if collapse else F.lit(0)
    row: Any = events.agg(F.min(micros), F.max(micros), lone).first()
    begin, end, not_merged = row
    if config.splits.cuts and config.model_run_id is None and end is not None:
        checks.check_cuts(config.splits.seconds, begin // 1_000_000, end // 1_000_000)
    return F.timestamp_micros(F.lit(end).cast("long")), not_merged


def _encoded(
    run: Run, prepared: DataFrame, types: Mapping[str, str], cuts: Sequence[int]
) -> dict[str, Any]:
    config, model_run_id = run.config, run.config.model_run_id
    facts = raw_samples.facts(prepared, config.sampling, config.features)
    checks.check_labels(prepared, facts["unread"])
    checks.check_samples(facts)
    negatives.check_rates(facts)
    if model_run_id is None:
        checks.check_classes(facts)
    label = config.sampling.label
    window, undo = label.window, label.undo_window
    cuts = cuts or splits.split_cuts(prepared, config.splits)
    samples = prepared.transform(splits.with_split, config.splits, config.seed, window, cuts, undo)
    ends = config.splits.open_windows == "gap" and window is None
    counts = _counts(samples)
    opened = known_labels.opened(prepared, [] if ends else cuts, label.settles)
    if model_run_id is None:
        splits.check_splits(counts)
    if config.statistics_run_id is None:
        stats = feature_stats.fit_features(samples.where("split = 'train'"), config.features)
    else:
        stats = read_stats(config.statistics_folder.features)
    write_json(run.folder.features, stats.model_dump())
    write_json(run.folder.kept, types)
    shared = LabelEvents.of(facts, config.sampling)
    write_json(run.folder.labels, shared.model_dump())
    encoded = samples.transform(encoding.with_features, config.features, stats)
    rows = run.store.write(SAMPLES, raw_samples.table_rows(encoded))
    return {
        "samples": rows,
        "splits": {part: n for part, (n, _) in counts.items()},
        "positives": {part: p for part, (_, p) in counts.items()},
        **_cuts_summary(cuts, opened, counts),
        **shared.said(),
        **_oddities(facts, config),
        "features": f"{len(stats.declared)} in a vector of {len(stats.names)}; names in "
        f"{run.folder.features.name}",
        "ids": dict(stats.cardinalities),
        **_sequences_summary(facts, stats.sequence),
    }


def _sequences_summary(facts: Mapping[str, int], shape: SequenceShape | None) -> dict[str, str]:
    """For the summary: what the sequences hold, if there are any."""
    if shape is None:
        return {}
    fields = ", ".join(f"{name} ({size} ids)" for name, size in shape.fields.items())
    none = facts["rows"] - facts["preceded"]
    return {"sequences": f"last {shape.length} events: {fields}; {none:,} samples have none"}


def _counts(samples: DataFrame) -> dict[str, tuple[int, int]]:
    """Rows and positives of each part of the split."""
    # Small: one row per part.
    rows = samples.groupBy("split").agg(F.count("*").alias("n"), F.sum("label").alias("p"))
    parts = rows.orderBy("split").collect()
    return {row["split"]: (row["n"], int(row["p"] or 0)) for row in parts}


def _cuts_summary(
    cuts: Sequence[int], opened: Sequence[int], counts: Mapping[str, tuple[int, int]]
) -> dict[str, str]:
    """For the summary: when validation and test begin, and what the label windows cost there."""
    if not cuts:
        return {}
    summary = {}
    for name, cut, number in zip(("validation", "test"), cuts, opened or (0, 0), strict=True):
        summary[f"{name} from"] = f"{checks.said_time(cut)}; {number:,} label windows were open"
    rows, positives = counts.get("gap", (0, 0))
    summary["gap"] = f"{rows:,} rows, {positives:,} of them positive, are in no part"
    return summary


def _oddities(facts: Mapping[str, int], config: RunConfig) -> dict[str, Any]:
    """For the summary: what a user should know of the labels and ids."""
    summary: dict[str, Any] = {}
    lost = {k[5:]: f"{n:,} values" for k, n in facts.items() if k.startswith("lost ") and n}
    if lost:
        summary["not converted"] = lost
    if undone := facts["undone"]:
        summary["taken back"] = f"{undone:,} samples would be positive without sampling.label.undo"
    if ties := facts["same_time"]:
        rule = config.sampling.label.same_time
        summary["same time"] = (
            f"{ties:,} samples have a label event at their very time, which counts as {rule} them "
            "(sampling.label.same_time)"
        )
    if nulls := facts["null_keys"]:
        summary["null keys"] = (
            f"{nulls:,} samples have a null in sampling.key. Earlier versions left nulls out of "
            "the hash, so these have a new sample_id: weights of a run of such a version cannot "
            "be joined to them"
        )
    return summary
