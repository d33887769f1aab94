"""The stage build_samples.

Reads:
    The table ``events``; with ``model_run_id`` also the feature statistics of that run.

Writes:
    The table ``samples``, and ``features.json``: names, means, scales and vocabularies of the
    training split alone.

Refuses:
    Expressions that do not fit the events, a log without samples, ids that are not unique, samples
    without a group, labels other than 0 and 1, and statistics of other features. Without
    ``model_run_id`` also samples of only one class, an empty part of the split, features without a
    value in the training split, and more features than ``features.dim``.
"""

from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples import encoding, feature_stats, sampling, splits
from reweight.build_samples.feature_stats import read_stats
from reweight.clean_logs.events import read_events
from reweight.config import Run
from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.core.tables import SAMPLES


def build_samples(run: Run) -> dict[str, Any]:
    """Turns events into samples: label, split, features that use only what was known before."""
    config = run.config
    events = sampling.collapsed(read_events(run.store, config.cleaning), config.sampling)
    sampling.check_sampling(events, config.sampling)
    # As a number: a timestamp would be converted to the driver's own time zone.
    last = events.agg(F.max(F.unix_micros("event_time"))).first()[0]  # type: ignore[index]
    log_end = F.timestamp_micros(F.lit(last).cast("long"))
    labelled = sampling.with_label(events, config.sampling, log_end)
    # A feature must not use the label or its time.
    known = labelled.drop(*sampling.LABEL_COLUMNS)
    encoding.check_features(known, events, config.features)
    splits.check_target(known.transform(sampling.with_identity, config.sampling), config.splits)
    prepared = (
        labelled.transform(sampling.with_identity, config.sampling)
        .transform(encoding.with_raw_features, events, config.features)
        .persist(StorageLevel.DISK_ONLY)
    )
    try:
        return _encoded(run, prepared)
    finally:
        prepared.unpersist()


def _encoded(run: Run, prepared: DataFrame) -> dict[str, Any]:
    config, other = run.config, run.config.model_run_id
    facts = _facts(prepared)
    sampling.check_samples(facts)
    if other is None:
        sampling.check_classes(facts)
    window = config.sampling.label.window or 0
    samples = prepared.transform(splits.with_split, config.splits, config.seed, window)
    counts = _counts(samples)
    if other is None:
        splits.check_splits(counts)
        stats = feature_stats.fit_features(samples.where("split = 'train'"), config.features)
    else:
        stats = read_stats(RunFolder.of(config.root, other).features)
    write_json(run.folder.features, stats.model_dump())
    encoded = samples.transform(encoding.with_features, config.features, stats)
    columns = SAMPLES.columns()
    assert columns is not None
    rows = run.store.write(SAMPLES, encoded.select(*columns.names[1:]))
    used = [name for name in stats.names if not name.startswith("padding_")]
    return {
        "samples": rows,
        "splits": {part: n for part, (n, _) in counts.items()},
        "positives": {part: p for part, (_, p) in counts.items()},
        "features": f"{len(used)} in a vector of {len(stats.names)}; names in "
        f"{run.folder.features.name}",
        "ids": dict(stats.cardinalities),
    }


def _facts(samples: DataFrame) -> dict[str, int]:
    known = F.col("mature")
    facts = samples.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_distinct("sample_id").alias("ids"),
        F.count("group_id").alias("groups"),
        F.count(F.when(known, 1)).alias("mature"),
        F.count(F.when(known & (F.col("label") == 1), 1)).alias("positives"),
        F.count(F.when(known & (F.col("label") == 0), 1)).alias("negatives"),
    ).first()
    assert facts is not None
    return facts.asDict()


def _counts(samples: DataFrame) -> dict[str, tuple[int, int]]:
    # Small: one row per part of the split.
    rows = samples.groupBy("split").agg(F.count("*").alias("n"), F.sum("label").alias("p"))
    return {row["split"]: (row["n"], int(row["p"] or 0)) for row in rows.orderBy("split").collect()}
