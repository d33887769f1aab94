"""The stages that compare methods under conditions.

Reads:
    The tables ``samples`` and ``truth`` of simulated worlds.

Writes:
    The table ``conditions``, ``conditions.html`` and ``conditions.json``.

Refuses:
    A config without simulation. A method that fails in a world is shown as failed, with the reason.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.benchmark import incremental
from reweight.benchmark.conditions import agreement, curves, page, protocol, worlds, wrong_labels
from reweight.benchmark.conditions.world import EXTRA
from reweight.benchmark.detection.protocol import ORACLE
from reweight.benchmark.fits import said
from reweight.build_samples.feature_stats import read_stats
from reweight.config import ConditionsConfig, ConditionsRun, RunConfig
from reweight.core.baselines import BASELINE, RECALIBRATED
from reweight.core.digest import digest
from reweight.core.errors import TableError
from reweight.core.files import write_json
from reweight.core.revision import revision
from reweight.core.sequences import SEQUENCE
from reweight.core.tables import CONDITIONS, SAMPLES, TRUTH
from reweight.train_ranker.rankers.deep import Deep

# Where the raw log of the worlds is, which does not affect its content.
_PLACES: Any = {
    "simulation": {"path": True},
    "cleaning": {"sources": {"__all__": {"path": True}}},
}
# Names methods of the run, and has no effect in memory.
_UNUSED: Any = {"rankers": {"__all__": {"recalibrate"}}}
# Names and places, and sections that no world's result depends on.
_ELSEWHERE: Any = {
    **RunConfig.elsewhere,
    **dict.fromkeys(("data_dir", "model_run_id", "warm_start", "tuning", "explaining"), True),
    **_PLACES,
    "conditions": {"beside": True},
}
# Sections that determine a world, its rankers and how they are measured: if they are equal, so are
# the uniform and the oracle of two runs, and with them the gap.
_LOG: Any = {
    **dict.fromkeys(("seed", "simulation", "cleaning", "sampling", "splits", "features"), True),
    **dict.fromkeys(("rankers", "evaluation"), True),
    "conditions": {"worlds", "only", "seeds", "sizes"},
}


def judge_conditions(run: ConditionsRun) -> dict[str, Any]:
    """Judges the rankers of every world with the weights of each method, one Spark task per world.

    Worlds that are already done are skipped, unless something that their result depends on changed.
    """
    keys = _keys(run.config)
    done_keys = incremental.done(run, CONDITIONS, "world", list(keys.values()))
    missing = [name for name in keys if keys[name] not in done_keys]
    world_of = {key: name for name, key in keys.items()}
    try:
        if missing:
            # A task then reads the columns of its world as arrays, without a Python object per row.
            rows = _rows(run, missing).repartition(len(missing), "world")
            rows.write.mode("overwrite").partitionBy("world").parquet(str(run.folder.worlds))

        def judged(batch: list[str]) -> DataFrame:
            return _judged(run, [world_of[key] for key in batch], keys)

        incremental.in_pieces(run, CONDITIONS, "world", list(world_of), done_keys, judged)
    finally:
        shutil.rmtree(run.folder.worlds, ignore_errors=True)
    results = _results(run)
    # Small by nature: one failure per method.
    failed = results[results["kind"] == "failed"].groupby("method")["reason"].first().to_dict()
    return {
        "worlds": len(keys),
        "judged now": len(missing),
        "rows": len(results),
        "failed": len(failed),
    } | failed


def conditions_report(run: ConditionsRun) -> dict[str, Any]:
    """Writes which methods help under which condition as a page and as JSON, and prints it."""
    rows = _results(run)
    names = [m.name for m in run.config.importance if m.name != BASELINE]
    arms = [arm for arm in (RECALIBRATED, worlds.POSITION_AS_FEATURE) if arm in set(rows["method"])]
    names = [*arms, *names]
    for run_id in run.config.conditions.beside:
        other_rows = _rows_of_other_run(run, run_id)
        rows = pd.concat([rows, other_rows])
        names += [name for name in other_rows["method"].unique() if name not in names]
    labels = run.config.conditions.labels([ranker.name for ranker in run.config.rankers])
    values = protocol.content(rows, labels, names)
    references = [m.name for m in run.config.importance if m.method == "importance_mlp"]
    values |= {"run_id": run.config.run_id, "revision": revision(), "references": references}
    write_json(run.folder.content("conditions"), values)
    path = run.folder.page("conditions")
    path.write_text(page.render(values))
    for metric in ("auc", page.LEADING, "level_log_loss"):
        for line in protocol.table(values, metric):
            run.say(line)
    label_lines = wrong_labels.lines(values["wrong_labels"])
    for line in [*label_lines, *agreement.lines(values["judges"]), *curves.lines(values["curves"])]:
        run.say(line)
    for condition, text in page.advice(values).items():
        run.say(f"{condition}: {text}")
    return {"report": str(path)}


def _keys(config: ConditionsConfig) -> dict[str, str]:
    """World -> a hash of everything that its result depends on.

    This includes the other worlds: features are scaled, and time is cut, over all of them.
    """
    settings = config.model_dump_json(by_alias=True, exclude=_ELSEWHERE)
    return {name: digest(name, settings, revision()) for name in config.conditions.names()}


def _results(run: ConditionsRun) -> pd.DataFrame:
    """The rows of the worlds; small by nature, about fifty per world and method."""
    return incremental.found(run, CONDITIONS, "world", list(_keys(run.config).values()))


def _log_of(config: ConditionsConfig) -> str:
    """A hash of what uniform and the oracle depend on: if equal, methods are comparable."""
    # Other rankers are trained without batches.
    batches = any(isinstance(ranker, Deep) for ranker in config.rankers)
    sections = _LOG | ({"fitting": {"batch_size"}} if batches else {})
    settings = config.model_dump_json(by_alias=True, include=sections, exclude=_PLACES | _UNUSED)
    return digest(settings, revision())


def _rows_of_other_run(run: ConditionsRun, run_id: str) -> pd.DataFrame:
    """The rows of another run's methods in the same worlds, named `run_id/method`."""
    rows = run.store.read(CONDITIONS, run_id).drop("run_id").toPandas()
    log = _log_of(run.config)
    if log not in set(rows["log"]):
        others = [other for other in run.config.conditions.beside if other != run_id]
        raise TableError(
            f"run '{run_id}' did not judge the worlds of this run",
            expected=f"rows of worlds with the hash {log}",
            got=str(sorted(set(rows["log"]))),
            fix="run its methods in these worlds (same code, and same sections except importance, "
            "weighting and fitting, whose batch_size must be the same for the ranker deep), or "
            f"leave it out: conditions.beside=[{', '.join(others)}]",
        )
    return _methods_of(rows[rows["log"] == log], run_id)


def _methods_of(rows: pd.DataFrame, run_id: str) -> pd.DataFrame:
    """The rows of another run's methods, without what both runs have: uniform, oracle and arms.

    Its verdicts are left out: they are corrected for the number of its own methods, and would count
    each world once more.
    """
    shared = [BASELINE, ORACLE, RECALIBRATED, worlds.POSITION_AS_FEATURE]
    rows = rows[~rows["method"].isin(shared) & (rows["kind"] != "verdict")]
    return rows.assign(method=run_id + "/" + rows["method"])


def _judged(run: ConditionsRun, batch: Sequence[str], keys: dict[str, str]) -> DataFrame:
    """The rows of the table, one task per world."""
    config = run.config
    names_of, methods = config.conditions.names(), config.importance
    sections = worlds.Sections(
        config.weighting,
        config.in_memory,
        config.evaluation,
        config.fitting.batch_size,
        config.seed,
    )
    log, folder = _log_of(config), run.folder.worlds
    encoded = read_stats(run.folder.features)
    names = [f.name for f in CONDITIONS.columns() or () if f.name != "run_id"]

    def judge(world: str) -> pd.DataFrame:
        import pyarrow.parquet as pq
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(1)
        # Concurrent tasks with a thread per core each would take many times as long.
        with threadpool_limits(1):
            try:
                rows = pq.read_table(folder / f"world={world}", partitioning=None)
                results = list(
                    worlds.judged(rows, encoded.sizes, methods, sections, encoded.sequence)
                )
            except Exception as error:
                results = [worlds.failed(method.name, said(error)) for method in methods]
        named = names_of[world]
        shared = {"world": keys[world], "log": log, "seed": named.seed, "size": named.size}
        for row in results:
            row["condition"] = protocol.ranked(named.condition, row.pop("ranker", None))
        table = pd.DataFrame([shared | row for row in results])
        numbers: Any = {"size": "Int64", "value": float, "low": float, "high": float}
        return table[names].astype(numbers)

    def task(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            for place in frame["id"]:
                yield judge(batch[place])

    schema = (CONDITIONS.schema or "").replace(" not null", "")
    places = run.spark.range(0, len(batch), 1, numPartitions=len(batch))
    return places.mapInPandas(task, schema)


def _rows(run: ConditionsRun, names: Sequence[str]) -> DataFrame:
    """The samples of the given worlds, with their truth and their world."""
    truth = run.store.read(TRUTH).select(
        F.xxhash64("impression_id").alias("sample_id"),
        F.col("wanted").cast("double").alias("truth"),
        "bot",
    )
    parts = F.split("segment", "/", 2)
    samples = run.store.read(SAMPLES).where(
        F.col("split").isin("train", "validation", "test") & parts[0].isin(list(names))
    )
    columns = ["sample_id", "group_id", "split", "label", "features", "ids", *EXTRA]
    columns += SEQUENCE if run.config.features.sequence else ()
    return samples.join(truth, on="sample_id", how="inner").select(
        *columns, "truth", "bot", parts[0].alias("world"), parts[1].alias("segment")
    )
