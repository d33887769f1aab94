"""What texts bring on the simulated search log, and what encoding them costs.

python -m tests.perf.texts [--root /tmp/search] [--encoders wordllama,hashed] [--titles 50000]

The ranker is trained on the same samples without texts and with each encoder, and judged by what
people wanted in the test rows. Intervals resample users, with the same draws for all.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from reweight.build_samples.encoders import encoder_of
from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import Run, load_config
from reweight.core.session import spark_session
from reweight.core.tables import PREDICTIONS, TRUTH
from reweight.fit_importance.stage import fit_importance
from reweight.runner.records import run_stage
from reweight.score_weights.stage import score_weights
from reweight.simulate_logs.stage import simulate_logs
from reweight.train_ranker.stage import train_ranker

CONFIG = "conf/domains/search.yaml"
NOTHING = ("features.text={}", "features.similarity={}")
_REPLICATES = 500


def judged(root: str, encoders: list[str], overrides: list[str]) -> pd.DataFrame:
    """Probabilities of test rows by encoder, `none` without texts; with user and truth."""
    settings = {"spark.master": "local[2]", "spark.sql.shuffle.partitions": "2"}
    settings["spark.driver.memory"] = "1500m"
    spark = spark_session(Path(root) / "spark.log", settings)
    columns = []
    for encoder in ("none", *encoders):
        text = NOTHING if encoder == "none" else (f"features.text.query.encoder={encoder}",)
        run = Run.open(
            spark, load_config(CONFIG, [f"root={root}", "importance=[]", *text, *overrides])
        )
        first = (simulate_logs, clean_logs) if encoder == "none" else ()
        for stage in (*first, build_samples, fit_importance, score_weights, train_ranker):
            run_stage(run, stage)
        rows = run.store.read(PREDICTIONS).where("split = 'test' AND method = 'uniform'")
        frame = rows.select("sample_id", "group_id", "probability").toPandas()
        print(f"{encoder}: {len(frame)} test rows are scored", flush=True)
        columns.append(frame.set_index(["sample_id", "group_id"])["probability"].rename(encoder))
    truth = run.store.read(TRUTH).where("NOT bot")
    wanted = truth.selectExpr("xxhash64(impression_id) AS sample_id", "wanted").toPandas()
    spark.stop()
    return pd.concat(columns, axis=1).reset_index().merge(wanted, on="sample_id")


def differences(rows: pd.DataFrame, encoders: list[str]) -> dict[str, NDArray[np.float64]]:
    """Of each encoder's AUC to that without texts: the difference, and its 95 % interval."""
    users = [frame for _, frame in rows.groupby("group_id")]
    generator = np.random.default_rng(0)
    resampled = []
    for _ in range(_REPLICATES):
        drawn = pd.concat([users[i] for i in generator.integers(0, len(users), len(users))])
        resampled.append(aucs(drawn, encoders))
    point = aucs(rows, encoders)
    low, high = np.percentile(np.array(resampled), [2.5, 97.5], axis=0)
    return {e: np.array([point[i], low[i], high[i]]) for i, e in enumerate(encoders)}


def aucs(rows: pd.DataFrame, encoders: list[str]) -> list[float]:
    """Differences of AUC to that without texts."""
    base = roc_auc_score(rows["wanted"], rows["none"])
    return [float(roc_auc_score(rows["wanted"], rows[e]) - base) for e in encoders]


def seconds_per_million(encoder: str, titles: int, dim: int = 32) -> float:
    """Seconds in which one process encodes a million distinct titles of six words."""
    words = np.array(Path(__file__).read_text().split())
    drawn = np.random.default_rng(0).choice(words, (titles, 6))
    texts = [f"{' '.join(row)} {number}" for number, row in enumerate(drawn)]
    encode = encoder_of(encoder).load(dim)
    start = time.process_time()
    for begin in range(0, titles, 10_000):
        encode(texts[begin : begin + 10_000])
    return (time.process_time() - start) * 1e6 / titles


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default=None)
    parser.add_argument("--encoders", default="wordllama,hashed")
    parser.add_argument("--titles", type=int, default=50_000)
    arguments, overrides = parser.parse_known_args()
    encoders = arguments.encoders.split(",")
    for encoder in encoders:
        cost = seconds_per_million(encoder, arguments.titles)
        print(f"{encoder}: {cost:.0f} CPU seconds for a million titles, half on two cores")
    with tempfile.TemporaryDirectory() as folder:
        rows = judged(arguments.root or folder, encoders, overrides)
    for name in ("none", *encoders):
        print(f"AUC by truth, {name}: {roc_auc_score(rows['wanted'], rows[name]):.4f}")
    for name, (point, low, high) in differences(rows, encoders).items():
        print(f"difference to none, {name}: {point:+.4f} [{low:+.4f}, {high:+.4f}]")


if __name__ == "__main__":
    main()
