"""The Delta tables of the runs: their schemas, and what their columns mean.

They are folders under the root of the runs, or tables of a catalog. Every table holds the rows of
many runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark.sql import SparkSession
from pyspark.sql.types import StructType


@dataclass(frozen=True)
class Table:
    """A Delta table of the runs.

    Attributes:
        name: of its folder under ``<root>/tables``, or in the schema of a catalog.
        made_by: the stage that writes it, named in error messages.
        schema: DDL of the columns beside ``run_id``; None where the config names the columns.
        checks: CHECK constraints, name to SQL condition.
    """

    name: str
    made_by: str
    schema: str | None = None
    checks: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> StructType | None:
        """The declared schema with ``run_id`` in front, or None for an open table."""
        if self.schema is None:
            return None
        # Spark 3.5 has no other public way from DDL to a schema.
        ddl = "run_id string not null, " + self.schema
        return SparkSession.active().createDataFrame([], ddl).schema


EVENTS = Table("events", "clean_logs")
"""What happened, a row for each usable line of the logs; its columns are the config's.

Attributes:
    event_time: when it happened, UTC.
    ...: the other columns of ``cleaning.columns`` and of ``cleaning.lookups``.
"""
REJECTED = Table(
    "rejected",
    "clean_logs",
    "source string not null, source_file string, reasons array<string> not null, raw string",
)
"""Lines of the logs that are no events, each with all reasons against it.

Attributes:
    source: name of the source in ``cleaning.sources``.
    source_file: path of the file.
    reasons: names of all rules that the row breaks.
    raw: the row as it was read.
"""
TRUTH = Table(
    "truth",
    "simulate_logs",
    "impression_id string not null, relevance double, seen boolean, bot boolean, "
    "wanted boolean, would_buy boolean, delay_hours double, recorded boolean",
)
"""What a simulated log does not say, a row for each impression; only benchmarks may read it.

Attributes:
    impression_id: of the impression.
    relevance: probability of a click on what is seen.
    seen: whether the user looked at it.
    bot: whether the user is a program.
    wanted: whether the user wanted the item, seen or not.
    would_buy: whether a purchase follows, in the log or not.
    delay_hours: from the impression to the purchase; null where none follows.
    recorded: whether the log has a purchase.
"""
SAMPLES = Table(
    "samples",
    "build_samples",
    "sample_id bigint not null, group_id string not null, event_time timestamp not null, "
    "label float, label_time timestamp, mature boolean not null, elapsed double, delay double, "
    "split string not null, "
    "target boolean not null, segment string, position int, propensity double, value double, "
    "features array<float> not null, ids array<int> not null",
)
"""Training rows made of events.

Attributes:
    sample_id: hash of 64 bits of the sample's key.
    group_id: user or session: what intervals resample, and what a split by group keeps together.
    event_time: when the sample was, UTC.
    label: 1 or 0; null where it is not known yet.
    label_time: when the first label event came.
    mature: whether the label window was over when the label was taken.
    elapsed: how much of the window was over then, as a share of it.
    delay: when in the window the label came, as a share of it; null where none came.
    split: ``train``, ``validation`` or ``test``; ``immature`` and ``gap`` belong to none of them.
    target: whether the row is of the newest part of the training split (``splits.target``).
    segment: slice of the report, and what some methods weigh (``sampling.segment``).
    position: place in the list, counted from 1 (``sampling.keep``).
    propensity: known probability that the row was looked at (``sampling.keep``).
    value: what the row brought, if it is positive (``sampling.keep``).
    features: dense features, D numbers.
    ids: hashed categorical values, F numbers.
"""
WEIGHTS = Table(
    "weights",
    "score_weights",
    "method string not null, sample_id bigint not null, importance double not null, "
    "weight double not null, label float, in_sample boolean not null",
    # NaN passes `weight >= 0` in Spark (NaN is the largest value), so the upper bound is stated.
    {
        "weight_range": "weight >= 0 AND weight < double('Infinity')",
        "label_range": "label IS NULL OR (label >= 0 AND label <= 1)",
    },
)
"""Importance and weight, a row for each sample and method.

Attributes:
    method: name of the method in the run.
    sample_id: of the sample.
    importance: raw output of the method.
    weight: what the ranker is given; of mean 1 over the training split.
    label: soft label to train on; null where the recorded label counts.
    in_sample: whether all networks that scored this training row were trained on it; false with
        ``model_run_id``.
"""
PREDICTIONS = Table(
    "predictions",
    "train_ranker",
    "method string not null, sample_id bigint not null, group_id string not null, "
    "segment string, split string not null, label float not null, probability double not null",
    {"probability_range": "probability >= 0 AND probability <= 1"},
)
"""What the rankers say, a row for each validation and test sample and method.

Attributes:
    method: by whose weights the ranker was trained.
    sample_id: of the sample.
    group_id: of the sample.
    segment: of the sample.
    split: ``validation`` or ``test``.
    label: recorded label.
    probability: p(y = 1) by the ranker.
"""
METRICS = Table(
    "metrics",
    "evaluate",
    "method string not null, seed bigint not null, split string not null, segment string, "
    "name string not null, kind string not null, value double, low double, high double",
)
"""Results, a row for each number.

Attributes:
    method: that it is of.
    seed: of the run.
    split: on whose rows it was measured.
    segment: on whose rows it was measured; null for all.
    name: of the metric.
    kind: ``value``; ``difference``, to that of ``uniform`` on the same rows; ``weight``, of the
        weights of the training rows.
    value: the number.
    low: lower end of its interval.
    high: upper end of its interval.
"""
ATTRIBUTIONS = Table(
    "attributions",
    "explain",
    "method string not null, part string not null, rows bigint not null, mean double not null, "
    "mean_abs double not null, mean_0 double, mean_1 double",
)
"""What importance is made of, a row for each method and part.

Attributes:
    method: that it is of.
    part: a feature; ``(categories)``, all of them together; ``(base)``, what a row that has nothing
        gets; ``(remainder)``, what the sum leaves over.
    rows: training rows that were looked at.
    mean: of what the part adds to importance.
    mean_abs: of its absolute value: how much the part moves importance.
    mean_0: of what it adds in rows with label 0.
    mean_1: of what it adds in rows with label 1.
"""
BENCHMARK = Table(
    "benchmark",
    "benchmark",
    "cell string not null, table string not null, damage string not null, rate double not null, "
    "seed bigint not null, method string not null, name string not null, share double, "
    "value double, reason string",
    # A row says a number or why there is none.
    {"value_or_reason": "(value IS NULL) <> (reason IS NULL)"},
)
"""Which methods find planted faults, a row for each cell, method and number.

Attributes:
    cell: hash of the cell and of all that its result depends on.
    table: name of the public table.
    damage: kind of the planted fault.
    rate: share of the rows that it hit, of those that it can hit.
    seed: of the draw.
    method: that was judged.
    name: of the metric.
    share: of the rows that were removed, for curves.
    value: the number; null where the method failed.
    reason: why there is no number.
"""
CONDITIONS = Table(
    "conditions",
    "judge_conditions",
    "world string not null, log string not null, condition string not null, seed bigint not null, "
    "method string not null, name string not null, kind string not null, value double, "
    "low double, high double, reason string",
)
"""Which weights help the ranker, a row for each world, method and number.

Attributes:
    world: hash of the world and of all that its result depends on.
    log: hash of what the samples of all worlds depend on; methods of equal ones can be compared.
    condition: what goes wrong in it.
    seed: of the world.
    method: by whose weights the ranker was trained.
    name: of the metric.
    kind: ``value``, ``difference`` to ``uniform``, ``cost``, or ``failed``.
    value: the number.
    low: lower end of its interval.
    high: upper end of its interval.
    reason: why the method failed.
"""
