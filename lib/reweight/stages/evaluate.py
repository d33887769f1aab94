"""The stage evaluate."""

from typing import Any

from pyspark import StorageLevel
from pyspark.sql import functions as F

from reweight import diagnostics, evaluation
from reweight.run import Run, write_json
from reweight.stages.build_samples import read_stats
from reweight.tables import METRICS, PREDICTIONS, SAMPLES, WEIGHTS

CURVES = "evaluation.json"
BASELINE = "uniform"


def evaluate(run: Run) -> dict[str, Any]:
    """Measures rankers and weights; each method beside `uniform`, with an interval."""
    config = run.config
    found = evaluation.reduce_predictions(
        run.store.read(PREDICTIONS), config.evaluation, config.seed
    )
    rows = evaluation.measure(found, config.evaluation, BASELINE, config.seed)
    weights = _weights(run)
    write_json(run.folder / CURVES, {"curves": evaluation.curves(found), **weights})
    facts = [
        {"method": m, "split": "train", "name": name, "kind": "weight", "value": float(value)}
        for m, own in weights["facts"].items()
        for name, value in own.items()
    ]
    schema = METRICS.columns()
    assert schema is not None
    names = schema.names[1:]
    full = [tuple((row | {"seed": config.seed}).get(n) for n in names) for row in rows + facts]
    run.store.write(METRICS, run.spark.createDataFrame(full, schema=_nullable(names)))
    return {"metrics": len(full), **_headline(rows)}


def _weights(run: Run) -> dict[str, Any]:
    """Facts, histograms and drivers of the weights of the training rows."""
    methods = [m.name for m in run.config.importance]
    wide = run.store.read(WEIGHTS).groupBy("sample_id").pivot("method", methods)
    train = run.store.read(SAMPLES).where("split = 'train'")
    train = train.select("sample_id", "label", "features")
    joined = train.join(wide.agg(F.first("weight")), on="sample_id", how="inner")
    joined = joined.persist(StorageLevel.DISK_ONLY)
    try:
        facts = diagnostics.weight_facts(joined, methods)
        names = list(read_stats(run).names)
        return {
            "facts": facts,
            "histograms": diagnostics.histogram(joined, methods),
            "drivers": diagnostics.drivers(joined, joined.count(), methods, names, run.config.seed),
        }
    finally:
        joined.unpersist()


def _nullable(names: list[str]) -> str:
    kinds = {"seed": "bigint", "value": "double", "low": "double", "high": "double"}
    return ", ".join(f"{n} {kinds.get(n, 'string')}" for n in names)


def _headline(rows: list[dict[str, Any]]) -> dict[str, str]:
    """For each method the test log loss and AUC, and how far they are from `uniform`."""
    test = {(r["method"], r["kind"], r["name"]): r for r in rows if r["split"] == "test"
            and r["segment"] is None}
    methods = list(dict.fromkeys(method for method, _, _ in test))
    return {m: ", ".join(_one(test, m, name) for name in ("log_loss", "auc")) for m in methods}


def _one(test: dict[tuple[str, str, str], dict[str, Any]], method: str, name: str) -> str:
    value = test[method, "value", name]["value"]
    text = f"{name} " + ("undefined" if value is None else f"{value:.4f}")
    less = test.get((method, "difference", name))
    if less is None or less["low"] is None:
        return text
    return f"{text} ({less['value']:+.4f} [{less['low']:+.4f}, {less['high']:+.4f}])"
