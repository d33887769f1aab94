"""Cleaning and sample building: against a plain scan and shuffle, a hot key, a second executor."""

import shutil
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.perf.measuring import Figure, by_turns, median_ratio, run_job, session, stage_seconds
from tests.perf.synthetic import CONFIG

from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import Run, load_config
from reweight.runner.records import run_stage
from reweight.simulate_logs.stage import simulate_logs

SESSIONS = 100_000  # a million impressions


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """The three ratios, on a million impressions."""
    root = work / "line"
    shutil.rmtree(root, ignore_errors=True)
    with session(work) as spark:
        even = opened(spark, root, "even")
        run_stage(even, simulate_logs)
        hot = opened(spark, root, "hot", f"simulation.path={root}/hot")
        write_hot(spark, root)
        seconds = by_turns(
            {
                "scan and shuffle": lambda: scan_and_shuffle(spark, root),
                "clean and build": lambda: clean_and_build(even),
                "hot": lambda: clean_and_build(hot),
            },
            rounds=2,
        )
    shown = {name: [round(s, 1) for s in own] for name, own in seconds.items()}
    clean, plain = seconds["clean and build"], seconds["scan and shuffle"]
    figures = [
        Figure(
            "cleaning + samples / (scan + one shuffle) (times)",
            median_ratio(clean, plain),
            "<= 3",
            {"seconds": shown},
        ),
        Figure(
            "one item with 30 % of all events / even log (times)",
            median_ratio(seconds["hot"], clean),
            "<= 1.2",
            {"seconds": shown},
        ),
    ]
    return [*figures, executors(root)]


def opened(spark: SparkSession, root: Path, run_id: str, *overrides: str) -> Run:
    names = (f"root={root}", f"run_id={run_id}", f"simulation.sessions={SESSIONS}")
    return Run.open(spark, load_config(CONFIG, (*names, f"simulation.path={root}/raw", *overrides)))


def write_hot(spark: SparkSession, root: Path) -> None:
    """The same log, but that three of ten items shown are one and the same."""
    fields = load_config(CONFIG, (f"root={root}",)).cleaning.sources["log"].schema_
    assert fields is not None
    text = spark.read.text(f"{root}/raw")
    one = F.regexp_replace("value", '"item_id":[0-9]+', '"item_id":7')
    chosen = F.pmod(F.xxhash64(F.regexp_extract("value", '"impression_id":"([^"]*)"', 1)), 10) < 3
    text.select(F.when(chosen, one).otherwise(F.col("value")).alias("value")).write.mode(
        "overwrite"
    ).option("compression", "gzip").text(f"{root}/hot")


def scan_and_shuffle(spark: SparkSession, root: Path) -> None:
    """Reads the same bytes, parses them, and shuffles them once by a key."""
    schema = load_config(CONFIG, (f"root={root}",)).cleaning.sources["log"].schema_
    rows = spark.read.schema(schema or "").json(f"{root}/raw")
    rows.repartition("user_id").write.format("noop").mode("overwrite").save()


def clean_and_build(run: Run) -> None:
    run_stage(run, clean_logs)
    run_stage(run, build_samples)


def executors(root: Path) -> Figure:
    """The same stages on one executor of one core and on two."""
    seconds: dict[str, float] = {}
    for number in (1, 2):
        master = {
            "spark.master": f"local-cluster[{number},1,3072]",
            "spark.executor.memory": "2500m",
        }
        for job in ("clean_logs", "build_samples"):
            names = (f"root={root}", f"run_id=on{number}", f"simulation.path={root}/raw")
            run_job(job, CONFIG, *names, spark=master)
        seconds[str(number)] = sum(stage_seconds(root, f"on{number}").values())
    return Figure(
        "2 executors against 1 (speed)",
        seconds["1"] / seconds["2"],
        ">= 1.7",
        {"seconds": {k: round(s, 1) for k, s in seconds.items()}},
    )
