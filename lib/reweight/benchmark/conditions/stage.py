"""The stages that judge methods under conditions.

Reads:
    The tables ``samples`` and ``truth`` of simulated worlds.

Writes:
    The table ``conditions``, ``conditions.html`` and ``conditions.json``.

Refuses:
    A config without simulation. A method that fails in a world is shown as failed, with its reason.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.benchmark import incremental
from reweight.benchmark.conditions import page, protocol, worlds
from reweight.benchmark.detection.protocol import ORACLE
from reweight.benchmark.fits import said
from reweight.build_samples.feature_stats import read_stats
from reweight.config import ConditionsConfig, ConditionsRun, RunConfig
from reweight.core.baselines import BASELINE
from reweight.core.digest import digest
from reweight.core.errors import TableError
from reweight.core.files import write_json
from reweight.core.revision import revision
from reweight.core.tables import CONDITIONS, SAMPLES, TRUTH

# Where the raw log of the worlds lies, which says nothing of what is in it.
_PLACES: Any = {
    "simulation": {"path": True},
    "cleaning": {"sources": {"__all__": {"path": True}}},
}
# What says where a run is and what it is called, and no world's result depends on.
_ELSEWHERE: Any = {
    **RunConfig.elsewhere,
    **dict.fromkeys(("data_dir", "model_run_id", "tuning", "explaining"), True),
    **_PLACES,
    "conditions": {"beside": True},
}
# Sections that make the samples of a world; the others say what is done with them.
_LOG: Any = {
    **dict.fromkeys(("seed", "simulation", "cleaning", "sampling", "splits", "features"), True),
    "conditions": {"worlds", "seeds"},
}


def judge_conditions(run: ConditionsRun) -> dict[str, Any]:
    """Judges the ranker of every world by the weights of every method; a world is a Spark task.

    Worlds that are done are not done again, while all that their result depends on is the same.
    """
    keys = _keys(run.config)
    there = incremental.done(run, CONDITIONS, "world", list(keys.values()))
    left = [name for name in keys if keys[name] not in there]
    named = {key: name for name, key in keys.items()}
    # Brought together once, and not for every commit.
    rows = _rows(run, left).repartition(len(keys), "world").persist(StorageLevel.DISK_ONLY)

    def judged(own: list[str]) -> DataFrame:
        chosen = rows.where(F.col("world").isin([named[key] for key in own]))
        return _judged(run, chosen.repartition(len(own), "world"), keys)

    try:
        incremental.in_pieces(run, CONDITIONS, "world", list(named), there, judged)
    finally:
        rows.unpersist()
    found = _found(run)
    # Small by nature: what failed, once for each method and reason.
    failed = found[found["kind"] == "failed"].groupby("method")["reason"].first().to_dict()
    return {
        "worlds": len(keys),
        "judged now": len(left),
        "rows": len(found),
        "failed": len(failed),
    } | failed


def conditions_report(run: ConditionsRun) -> dict[str, Any]:
    """Writes who is helped under which condition, as a page and as JSON, and prints it."""
    rows = _found(run)
    names = [m.name for m in run.config.importance if m.name != BASELINE]
    for run_id in run.config.conditions.beside:
        others = _beside(run, run_id)
        rows = pd.concat([rows, others])
        names += [name for name in others["method"].unique() if name not in names]
    values = protocol.content(rows, list(run.config.conditions.worlds), names)
    references = [m.name for m in run.config.importance if m.method == "importance_mlp"]
    values |= {"run_id": run.config.run_id, "revision": revision(), "references": references}
    write_json(run.folder.content("conditions"), values)
    path = run.folder.page("conditions")
    path.write_text(page.render(values))
    for metric in ("log_loss", "auc"):
        for line in protocol.table(values, metric):
            run.say(line)
    for condition, text in page.advice(values).items():
        run.say(f"{condition}: {text}")
    return {"report": str(path)}


def _keys(config: ConditionsConfig) -> dict[str, str]:
    """World -> a hash of all that its result depends on.

    Of the other worlds too: features are scaled, and time is cut, over all of them.
    """
    told = config.model_dump_json(by_alias=True, exclude=_ELSEWHERE)
    return {name: digest(name, told, revision()) for name in config.conditions.names()}


def _found(run: ConditionsRun) -> pd.DataFrame:
    """Rows of the wanted worlds; small by nature, some fifty for each world and method."""
    return incremental.found(run, CONDITIONS, "world", list(_keys(run.config).values()))


def _log_of(config: ConditionsConfig) -> str:
    """A hash of all that the worlds' samples depend on: equal where methods can be compared."""
    told = config.model_dump_json(by_alias=True, include=_LOG, exclude=_PLACES)
    return digest(told, revision())


def _beside(run: ConditionsRun, run_id: str) -> pd.DataFrame:
    """Rows of another run's methods in the same worlds, each named `run_id/method`."""
    rows = run.store.read(CONDITIONS, run_id).drop("run_id").toPandas()
    own = _log_of(run.config)
    if own not in set(rows["log"]):
        raise TableError(
            f"run '{run_id}' did not judge the worlds of this run",
            expected=f"rows of worlds with the hash {own}",
            got=str(sorted(set(rows["log"]))),
            fix="judge its methods in these worlds (all sections as here but importance, weighting, "
            "fitting and ranking, and the same code), or leave it out of conditions.beside",
        )
    # Both have the same uniform and the same oracle.
    rows = rows[(rows["log"] == own) & ~rows["method"].isin([BASELINE, ORACLE])]
    return rows.assign(method=run_id + "/" + rows["method"])


def _judged(run: ConditionsRun, rows: DataFrame, keys: dict[str, str]) -> DataFrame:
    """Rows of the table, a task for each world."""
    config = run.config
    names_of, methods = config.conditions.names(), config.importance
    sections = worlds.Sections(
        config.weighting,
        config.ranking,
        config.evaluation,
        config.fitting.batch_size,
        config.seed,
    )
    log = _log_of(config)
    cardinalities = read_stats(run.folder.features).sizes
    names = [f.name for f in CONDITIONS.columns() or () if f.name != "run_id"]

    def judge(rows: pd.DataFrame) -> pd.DataFrame:
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(1)
        world = str(rows["world"].iloc[0])
        condition, seed = names_of[world]
        # Tasks side by side, each with a thread per core, take many times as long.
        with threadpool_limits(1):
            try:
                found = list(worlds.judged(rows, cardinalities, methods, sections))
            except Exception as error:
                found = [worlds.failed(method.name, said(error)) for method in methods]
        same = {"world": keys[world], "log": log, "condition": condition, "seed": seed}
        told = pd.DataFrame([same | row for row in found])
        return told[names].astype({"value": float, "low": float, "high": float})

    schema = (CONDITIONS.schema or "").replace(" not null", "")
    return rows.groupBy("world").applyInPandas(judge, schema)


def _rows(run: ConditionsRun, names: Sequence[str]) -> DataFrame:
    """Samples of some worlds with the truth about them, and the world that they are of."""
    truth = run.store.read(TRUTH).select(
        F.xxhash64("impression_id").alias("sample_id"),
        F.col("wanted").cast("double").alias("truth"),
        "bot",
    )
    parts = F.split("segment", "/", 2)
    samples = run.store.read(SAMPLES).where(
        F.col("split").isin("train", "validation", "test") & parts[0].isin(list(names))
    )
    columns = ["sample_id", "group_id", "split", "label", "features", "ids", *worlds.EXTRA]
    return samples.join(truth, on="sample_id", how="inner").select(
        *columns, "truth", "bot", parts[0].alias("world"), parts[1].alias("segment")
    )
