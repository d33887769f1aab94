"""The stage evaluate.

Reads:
    The tables ``predictions``, ``weights`` and ``samples``.

Writes:
    The table ``metrics``: values, and differences to ``uniform`` on the same rows, with intervals;
    and ``evaluation.json``: curves, and statistics of the weights.

Refuses:
    Tables without rows of this run.
"""

from typing import Any

from pyspark import StorageLevel
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import read_stats
from reweight.config import Run
from reweight.core.baselines import BASELINE
from reweight.core.distribution import Distribution, distribution_by
from reweight.core.files import write_json
from reweight.core.left_out import left_out, without
from reweight.core.tables import METRICS, PREDICTIONS, SAMPLES, WEIGHTS
from reweight.evaluate import reduction, statistics, weight_summary
from reweight.score_weights.rows import wide_weights


def evaluate(run: Run) -> dict[str, Any]:
    """Measures rankers and weights, and compares each method to `uniform` with an interval."""
    config = run.config
    reduced = reduction.reduce_predictions(
        run.store.read(PREDICTIONS), config.evaluation, config.seed
    )
    rows = statistics.measure(reduced.values, config.evaluation, BASELINE)
    weights = _weights(run)
    write_json(run.folder.evaluation, {"curves": reduction.curves(reduced), **weights})
    facts = [
        {"method": m, "split": "train", "name": name, "kind": "weight", "value": float(value)}
        for m, statistics_of_weights in weights["facts"].items()
        for name, value in statistics_of_weights.items()
    ]
    schema = METRICS.columns()
    assert schema is not None
    names = schema.names[1:]
    records = [tuple((row | {"seed": config.seed}).get(n) for n in names) for row in rows + facts]
    run.store.write(METRICS, run.spark.createDataFrame(records, schema=_nullable(names)))
    return {"metrics": len(records), "thresholds": reduced.probabilities()}


def _weights(run: Run) -> dict[str, Any]:
    """Statistics of the weights of the training rows, and the rows with extreme weights."""
    methods = [m.name for m in without(run.config.importance, left_out(run.folder))]
    wide = wide_weights(run.store.read(WEIGHTS), methods)
    train = run.store.read(SAMPLES).where("split = 'train'")
    train = train.select("sample_id", "segment", "label", "features")
    joined = train.join(wide, on="sample_id", how="inner").persist(StorageLevel.DISK_ONLY)
    try:
        columns, by_label = {m: F.col(m) for m in methods}, F.col("label").cast("int")
        spread = distribution_by(joined, columns, by_label)
        sums = weight_summary.weight_sums(joined, methods)
        names = list(read_stats(run.folder.features).names)
        drivers = weight_summary.drivers(joined, sums["n"], methods, names, run.config.seed)
        none: dict[str, Distribution] = dict.fromkeys(methods, ())
        return {
            "facts": weight_summary.weight_facts(sums, spread[None]),
            "histograms": weight_summary.histogram(spread[None]),
            "by_label": {
                str(label): weight_summary.histogram(spread.get(label, none)) for label in (0, 1)
            },
            "segment_shares": weight_summary.segment_shares(joined, sums, methods),
            "drivers": drivers,
            "extremes": weight_summary.extremes(joined, methods, names, drivers),
        }
    finally:
        joined.unpersist()


def _nullable(names: list[str]) -> str:
    kinds = {"seed": "bigint", "value": "double", "low": "double", "high": "double"}
    return ", ".join(f"{n} {kinds.get(n, 'string')}" for n in names)
