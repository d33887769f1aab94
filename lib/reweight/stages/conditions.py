"""The stages that judge methods under conditions."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.benchmark import conditions, conditions_page, ranker
from reweight.benchmark.fits import said
from reweight.config import ConditionsConfig, digest
from reweight.errors import TableError
from reweight.run import JobRun, revision, write_json
from reweight.stages.build_samples import read_stats
from reweight.tables import CONDITIONS, SAMPLES, TRUTH

ConditionsRun = JobRun[ConditionsConfig]

# Worlds of a commit, for each slot of the session: what a stop loses, and what waits for the last.
_WORLDS_PER_SLOT = 4
# What says where a run is and what it is called, and no world's result depends on.
_ELSEWHERE: Any = {
    **dict.fromkeys(("run_id", "root", "data_dir", "spark", "model_run_id", "tuning"), True),
    "simulation": {"path": True},
}


def judge_conditions(run: ConditionsRun) -> dict[str, Any]:
    """Judges the ranker of every world by the weights of every method; a world is a Spark task.

    Worlds that are done are not done again, while all that their result depends on is the same.
    """
    keys = _keys(run.config)
    done = _done(run, keys)
    left = [name for name in keys if keys[name] not in done]
    if done:
        run.say(f"{len(keys) - len(left)} of {len(keys)} worlds are there already")
    size = _WORLDS_PER_SLOT * run.spark.sparkContext.defaultParallelism
    # Brought together once, and not for every commit.
    rows = _rows(run, left).repartition(len(keys), "world").persist(StorageLevel.DISK_ONLY)
    try:
        for start in range(0, len(left), size):
            chunk = left[start : start + size]
            own = ", ".join(f"'{keys[name]}'" for name in chunk)
            # What earlier settings left goes with the first commit under new ones.
            where = f"world IN ({own})" if done or start else None
            worlds = rows.where(F.col("world").isin(chunk)).repartition(len(chunk), "world")
            run.store.write(CONDITIONS, _judged(run, worlds, keys), where)
            run.say(f"{len(keys) - len(left) + start + len(chunk)} of {len(keys)} worlds")
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
    names = [m.name for m in run.config.importance if m.name != ranker.UNIFORM]
    values = conditions.content(rows, list(run.config.conditions.worlds), names)
    values |= {"run_id": run.config.run_id, "revision": revision()}
    write_json(run.folder / "conditions.json", values)
    path = run.folder / "conditions.html"
    path.write_text(conditions_page.render(values))
    for metric in ("log_loss", "auc"):
        for line in conditions.table(values, metric):
            run.say(line)
    for condition, text in conditions_page.advice(values).items():
        run.say(f"{condition}: {text}")
    return {"report": str(path)}


def _keys(config: ConditionsConfig) -> dict[str, str]:
    """World -> a hash of all that its result depends on.

    Of the other worlds too: features are scaled, and time is cut, over all of them.
    """
    told = config.model_dump_json(by_alias=True, exclude=_ELSEWHERE)
    return {name: digest(name, told, revision()) for name in config.conditions.names()}


def _done(run: ConditionsRun, keys: dict[str, str]) -> set[str]:
    """Keys of the wanted worlds that are in the table."""
    try:
        rows = run.store.read(CONDITIONS).select("world").distinct().toPandas()
    except TableError:
        return set()
    return set(rows["world"]) & set(keys.values())


def _found(run: ConditionsRun) -> pd.DataFrame:
    """Rows of the wanted worlds; small by nature, some fifty for each world and method."""
    rows = run.store.read(CONDITIONS).drop("run_id").toPandas()
    return rows[rows["world"].isin(set(_keys(run.config).values()))].reset_index(drop=True)


def _judged(run: ConditionsRun, rows: DataFrame, keys: dict[str, str]) -> DataFrame:
    """Rows of the table, a task for each world."""
    config = run.config
    worlds, methods = config.conditions.names(), config.importance
    sections = ranker.Sections(
        config.weighting,
        config.ranking,
        config.evaluation,
        config.fitting.batch_size,
        config.seed,
    )
    cardinalities = tuple(read_stats(run).cardinalities.values())
    names = [f.name for f in CONDITIONS.columns() or () if f.name != "run_id"]

    def judge(rows: pd.DataFrame) -> pd.DataFrame:
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(1)
        world = str(rows["world"].iloc[0])
        condition, seed = worlds[world]
        # Tasks side by side, each with a thread per core, take many times as long.
        with threadpool_limits(1):
            try:
                found = list(ranker.judged(rows, cardinalities, methods, sections))
            except Exception as error:
                found = [ranker.failed(method.name, said(error)) for method in methods]
        same = {"world": keys[world], "condition": condition, "seed": seed}
        told = pd.DataFrame([same | row for row in found])
        return told[names].astype({"value": float, "low": float, "high": float})

    schema = (CONDITIONS.schema or "").replace(" not null", "")
    return rows.groupBy("world").applyInPandas(judge, schema)


def _rows(run: ConditionsRun, worlds: Sequence[str]) -> DataFrame:
    """Samples of some worlds with the truth about them, and the world that they are of."""
    truth = run.store.read(TRUTH).select(
        F.xxhash64("impression_id").alias("sample_id"),
        F.col("wanted").cast("double").alias("truth"),
        "bot",
    )
    parts = F.split("segment", "/", 2)
    samples = run.store.read(SAMPLES).where(
        F.col("split").isin("train", "validation", "test") & parts[0].isin(list(worlds))
    )
    columns = ["sample_id", "group_id", "split", "label", "features", "ids", *ranker.EXTRA]
    return samples.join(truth, on="sample_id", how="inner").select(
        *columns, "truth", "bot", parts[0].alias("world"), parts[1].alias("segment")
    )
