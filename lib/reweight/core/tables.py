"""The Delta tables of the runs: their schemas, and what their columns mean.

They are folders under the root of the runs, or tables of a catalog; each has rows of many runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark.sql import SparkSession
from pyspark.sql.types import StructType


@dataclass(frozen=True)
class Table:
    """A Delta table of the runs.

    Attributes:
        name: its folder under ``<root>/tables``, or its name in the schema of a catalog.
        made_by: the stage that writes it, named in error messages.
        schema: DDL of the columns except ``run_id``; None where the config defines the columns.
        checks: CHECK constraints, name -> SQL condition.
    """

    name: str
    made_by: str
    schema: str | None = None
    checks: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> StructType | None:
        """The declared schema, ``run_id`` first; None for an open table."""
        if self.schema is None:
            return None
        # Spark 3.5 has no other public way to turn DDL into a schema.
        ddl = "run_id string not null, " + self.schema
        return SparkSession.active().createDataFrame([], ddl).schema


EVENTS = Table("events", "clean_logs")
"""What happened: one row for each valid line of the logs. The config defines the columns.

Attributes:
    event_time: when it happened, UTC; no such column if no log has times.
    _delivered: the day that delivered it, in runs of the job daily.
    ...: the other columns of ``cleaning.columns`` and of ``cleaning.lookups``.
"""
REJECTED = Table(
    "rejected",
    "clean_logs",
    "source string not null, source_file string, reasons array<string> not null, raw string, "
    "day date",
)
"""Lines of the logs that are not valid events, each with all reasons.

Attributes:
    source: name of the source in ``cleaning.sources``.
    source_file: path of the file.
    reasons: names of all rules that the line breaks.
    raw: the line as it was read.
    day: the day that delivered it, in runs of the job daily; null in all others.
"""
TRUTH = Table(
    "truth",
    "simulate_logs",
    "impression_id string not null, relevance double, seen boolean, bot boolean, wanted boolean, "
    "would_buy boolean, delay_hours double, recorded boolean, refund_hours double",
)
"""What a simulated log hides: one row for each impression. Only benchmarks may read it.

Attributes:
    impression_id: id of the impression.
    relevance: probability of a click if the item is seen.
    seen: whether the user looked at the item.
    bot: whether the user is a bot.
    wanted: whether the user wanted the item for good, seen or not.
    would_buy: whether a purchase follows, in the log or not.
    delay_hours: hours from the click to the purchase; null where none follows.
    recorded: whether the log contains a purchase, unless its line was lost.
    refund_hours: hours from that purchase to its refund; null where none follows.
"""
SAMPLES = Table(
    "samples",
    "build_samples",
    "sample_id bigint not null, group_id string not null, event_time timestamp, "
    "label float, label_time timestamp, undo_time timestamp, mature boolean not null, "
    "elapsed double, delay double, undone double, split string not null, "
    "target boolean not null, segment string, position int, propensity double, value double, "
    "kept string, design_weight double, "
    "features array<float> not null, ids array<int> not null, "
    "sequence_ids array<int>, sequence_gaps array<float>",
)
"""Training rows made of events.

Attributes:
    sample_id: 64-bit hash of the sample's key.
    group_id: user or session; intervals resample groups, and a split by group keeps them together.
    event_time: time of the sample, UTC; null if the log has no times.
    label: 1 or 0; null while it is not known.
    label_time: time of the first label event that was not taken back, or else of the first one.
    undo_time: when that label event was taken back, so that the label is 0; null if it was not.
    mature: whether the label was settled when it was taken: the label window had closed, and so
        had that of ``sampling.label.undo``.
    elapsed: share of the label window that had passed by then, above 1 while a label event may
        still be taken back; if ``sampling.label`` has no window, the days since the sample.
    delay: when in the label window the label event arrived, as a share of it, or after how many
        days; null if none did.
    undone: when that label event was taken back, in the unit of ``delay``; null if it was not.
    split: ``train``, ``validation`` or ``test``; ``immature`` and ``gap`` belong to none of them.
    target: whether the row is in the newest part of the training split (``splits.target``).
    segment: slice for the report, also used by some methods (``sampling.segment``).
    position: position in the list, counted from 1 (``sampling.keep``).
    propensity: known probability that the user looked at the row (``sampling.keep``).
    value: value of the row if it is positive (``sampling.keep``).
    kept: the other columns of ``sampling.keep``, for judges, as JSON; null if there are none.
    design_weight: how many rows of the whole log the row stands for: 1 / rate where negatives were
        sampled (``sampling.negatives``), else 1.
    features: dense features, D numbers.
    ids: hashed categorical values, F numbers.
    sequence_ids: hashed values of the last L events before the sample, oldest first, those of an
        event together; padded at the end with 0. Null without ``features.sequence``.
    sequence_gaps: how long before the sample each of these events was, as log(1 + seconds), L
        numbers; -1 where there is no event.
"""
TEXTS = Table(
    "texts",
    "build_samples",
    "encoder string not null, dim int not null, text_hash string not null, "
    "vector array<float> not null, batch string not null",
)
"""Vectors of texts: one row for each distinct text, encoder and ``dim``. All runs share them.

Attributes:
    encoder: the encoder, with the version of everything that its vectors depend on.
    dim: length of the vector.
    text_hash: the first 128 bits of the text's SHA-256.
    vector: the vector, of length 1; zeros where the encoder knows nothing in the text.
    batch: the commit that added the row.
"""
WEIGHTS = Table(
    "weights",
    "score_weights",
    "method string not null, sample_id bigint not null, importance double not null, "
    "weight double not null, label float, in_sample boolean not null, event_time timestamp",
    # NaN passes `weight >= 0` in Spark (NaN is the largest value), so the upper bound is stated.
    {
        "weight_range": "weight >= 0 AND weight < double('Infinity')",
        "label_range": "label IS NULL OR (label >= 0 AND label <= 1)",
    },
)
"""Importance and weight: one row for each sample and method.

Attributes:
    method: name of the method in the run.
    sample_id: id of the sample.
    importance: raw output of the method.
    weight: weight for the ranker; mean 1 over the training split. Where negatives were sampled, it
        includes the row's ``design_weight``, and the weights of that split sum to its number of
        rows in the whole log.
    label: soft label to train on; null where the recorded label is used.
    in_sample: whether all networks that scored it had trained on it; false with ``model_run_id``.
    event_time: time of the sample, in runs of the job daily; null in all others.
"""
HISTORY = Table(
    "history",
    "daily",
    "day date not null, history string not null, key bigint not null, grain bigint, "
    "counts array<bigint> not null, latest array<bigint>",
)
"""What histories count: one row for each day, history and key, and more for grains in windows.

Attributes:
    day: the day; the day before the first one also has all days before it.
    history: name of the history in ``features.history``.
    key: 64-bit hash of the history's keys.
    grain: number of the grain since 1970; null for the whole day.
    counts: numbers of events, in the order of the history's ``counts``.
    latest: times of the latest ones in seconds since 1970, in the order of ``recency``.
"""
PREDICTIONS = Table(
    "predictions",
    "train_ranker",
    "ranker string, method string not null, sample_id bigint not null, group_id string not null, "
    "segment string, split string not null, label float not null, probability double not null",
    {"probability_range": "probability >= 0 AND probability <= 1"},
)
"""Predictions of the rankers: one row for each validation or test sample, ranker and method.

Attributes:
    ranker: name of the ranker; null in rows of earlier versions, which had one.
    method: the method on whose weights the ranker was trained.
    sample_id: id of the sample.
    group_id: group of the sample.
    segment: segment of the sample.
    split: ``validation`` or ``test``.
    label: recorded label.
    probability: the ranker's p(y = 1).
"""
METRICS = Table(
    "metrics",
    "evaluate",
    "judge string, ranker string, method string not null, seed bigint not null, "
    "split string not null, segment string, name string not null, kind string not null, "
    "value double, low double, high double, p double",
)
"""Results: one row for each number.

Attributes:
    judge: who measured it (``evaluation.judges``); null for metrics of weights.
    ranker: who was trained (``rankers``); null for metrics of weights.
    method: the method; ``uniform_recalibrated`` is ``uniform`` with its level repaired.
    seed: seed of the run.
    split: the split on which it was measured.
    segment: the segment on which it was measured; null for all rows.
    name: name of the metric.
    kind: ``value``; ``difference`` to the value of ``uniform`` with the same ranker on the same
        rows; ``weight`` for metrics of the weights of the training rows.
    value: the number.
    low: lower end of its interval.
    high: upper end of its interval.
    p: two-sided p-value of a difference, before any correction for the number of methods.
"""
PROMOTIONS = Table(
    "promotions",
    "promote",
    "number bigint not null, decided_at timestamp not null, decided_by string not null, "
    "decision string not null, reason string not null, challenger_run string, "
    "challenger_model string, challenger_method string, challenger_key string, "
    "before_run string, before_model string, before_method string, before_key string, "
    "live_run string not null, live_model string not null, live_method string not null, "
    "live_key string, judge string, metric string, outcome string, estimate double, low double, "
    "high double, p double, confidence double, rows bigint, rows_hash string, seed bigint",
)
"""Which weights went live, and why: one row for each decision; the last one holds.

Attributes:
    number: number of the decision, counted from 1.
    decided_at: when it was made, UTC.
    decided_by: user of the process.
    decision: ``promoted``, ``kept``, ``rolled back`` or ``uniform``.
    reason: why, in a sentence.
    challenger_run: run whose weights were judged; null for a rollback.
    challenger_model: run whose models gave them.
    challenger_method: method of these weights.
    challenger_key: what ``score_weights`` left in that run, and in that of the models; or null.
    before_run: run whose weights were live before; null for the first decision.
    before_model: run whose models gave them.
    before_method: method of these weights.
    before_key: what ``score_weights`` left there, likewise.
    live_run: run whose weights are live since.
    live_model: run whose models gave them.
    live_method: method of these weights.
    live_key: what ``score_weights`` left there, likewise; null in rows of earlier versions.
    judge: who judged; null if nobody did.
    metric: the loss that decided.
    outcome: ``better``, ``worse`` or ``no significant difference``.
    estimate: the loss of the challenger less that of the live weights, on the same validation rows.
    low: lower end of its interval.
    high: upper end of its interval.
    p: its p-value, corrected for the number of methods of the challenger's run.
    confidence: level of the interval.
    rows: number of these validation rows.
    rows_hash: identifies these rows and their labels.
    seed: seed of the bootstrap.
"""
MONITORING = Table(
    "monitoring",
    "monitor",
    "day date not null, measure string not null, of string, value double, reference double, "
    "limit double, alarm boolean not null",
)
"""How each day differs from the reference window: one row for each number.

Attributes:
    day: the day, UTC.
    measure: ``volume``, ``label_rate``, ``open_windows``, ``psi_features``, ``domain_auc``,
        ``psi_importance``, ``psi_weights``, ``ess_share``, ``ranker_auc`` or ``source_volume``.
    of: the feature, method, segment or source; null for all rows.
    value: the number; null where the day has no rows for it.
    reference: what it is in the reference window, a volume by day; what it is without drift, for
        indices and the AUC.
    limit: the limit that it has exceeded, or could; null if it raises no alarm.
    alarm: whether it has exceeded the limit.
"""
ATTRIBUTIONS = Table(
    "attributions",
    "explain",
    "method string not null, part string not null, rows bigint not null, mean double not null, "
    "mean_abs double not null, mean_0 double, mean_1 double",
)
"""What importance is made of: one row for each method and part.

Attributes:
    method: the method that was explained.
    part: a feature; ``(categories)``, all categorical fields and earlier events together;
        ``(base)``, the importance of the baseline row; ``(remainder)``, what the sum leaves over.
    rows: number of training rows that were explained.
    mean: mean of what the part adds to importance.
    mean_abs: mean absolute value of it: how much the part moves importance.
    mean_0: mean of it over rows with label 0.
    mean_1: mean of it over rows with label 1.
"""
BENCHMARK = Table(
    "benchmark",
    "benchmark",
    "cell string not null, table string not null, damage string not null, rate double not null, "
    "seed bigint not null, method string not null, name string not null, share double, "
    "value double, reason string",
    # A row has either a number or the reason why there is none.
    {"value_or_reason": "(value IS NULL) <> (reason IS NULL)"},
)
"""Which methods find planted faults: one row for each cell, method and number.

Attributes:
    cell: hash of the cell and of everything that its result depends on.
    table: name of the public table.
    damage: kind of the planted fault.
    rate: share of the eligible rows that have the fault.
    seed: seed of the draw.
    method: the method that was judged.
    name: name of the metric.
    share: share of the rows that were removed, for curves.
    value: the number; null where the method failed.
    reason: why there is no number.
"""
CONDITIONS = Table(
    "conditions",
    "judge_conditions",
    "world string not null, log string not null, condition string not null, size bigint, "
    "seed bigint not null, judge string, method string not null, name string not null, "
    "kind string not null, value double, low double, high double, reason string",
)
"""Which weights help the ranker: one row for each world, method and number.

Attributes:
    world: hash of the world and of everything that its result depends on.
    log: hash of everything that the samples of all worlds depend on; methods with equal hashes can
        be compared.
    condition: what goes wrong in the world, and the ranker if it is not the first.
    size: number of samples of the world; null if the config names no sizes.
    seed: seed of the world.
    judge: who judges the ranker; null for what no judge says, such as a cost.
    method: the method on whose weights the ranker was trained, ``uniform_recalibrated``,
        ``position_as_feature`` or ``oracle``.
    name: name of the metric.
    kind: ``value``, ``difference`` to ``uniform``, ``verdict``, ``cost``, or ``failed``.
    value: the number.
    low: lower end of its interval.
    high: upper end of its interval.
    reason: why the method failed, or what the judge says of it.
"""
BY_NAME = {table.name: table for table in tuple(vars().values()) if isinstance(table, Table)}
