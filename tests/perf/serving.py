"""The time of one row in an exported scorer, in this process, on one thread.

python -m tests.perf.serving
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from tests.perf.measuring import Figure

from reweight.build_samples.feature_stats import FeatureStats
from reweight.build_samples.features import Features
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.training import TrainFacts
from reweight.score_weights.policy import PolicyStats, Weighting
from reweight.serving import Scorer
from reweight.serving.export.folder import scorer_files

NUMERIC, BUCKETS, ROWS = 20, 1000, 5_000
NAMES = [f"x{i}" for i in range(NUMERIC)]
METHODS: dict[str, ImportanceMethod] = {
    "importance_mlp, reference": ImportanceMlp.model_validate({"preset": "reference"}),
    "self_confidence, 16 members": SelfConfidence(),
}


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """The 99th percentile of a row, with its encoding; in milliseconds."""
    return [_timed(work / name.split(",")[0], name, method) for name, method in METHODS.items()]


def _timed(folder: Path, name: str, method: ImportanceMethod) -> Figure:
    scorer = Scorer.load(exported(folder, method))
    draw, seconds = np.random.default_rng(0), []
    for number in range(ROWS):
        row: dict[str, object] = dict(zip(NAMES, draw.normal(size=NUMERIC).tolist(), strict=True))
        begin = time.perf_counter()
        scorer(row | {"item": f"item {number}"}, sample_id=number, label=number % 2)
        seconds.append(time.perf_counter() - begin)
    middle, most, worst = (float(np.percentile(seconds, q)) * 1e3 for q in (50, 99, 100))
    detail = {"p50": round(middle, 3), "max": round(worst, 3), "rows": ROWS}
    return Figure(f"scorer, one row, p99 in ms: {name}", most, "<= 1.0", detail)


def exported(folder: Path, method: ImportanceMethod) -> Path:
    """A scorer of the method's shape; its parameters do not change the time."""
    features = Features.model_validate(
        {
            "numeric": {name: name for name in NAMES},
            "categorical": {"item": {"value": "item", "buckets": BUCKETS}},
        }
    )
    names = (*NAMES, *[f"{name}_missing" for name in NAMES])
    stats = FeatureStats(
        names=names,
        scaling=dict.fromkeys(NAMES, (0.0, 1.0)),
        vocabulary={},
        cardinalities={"item": BUCKETS},
    )
    bins = getattr(method.learns(), "quantile_bins", 0)
    facts = TrainFacts(
        dim=len(names),
        cardinalities=(BUCKETS,),
        rows=10_000,
        positives=1_000,
        quantiles=(tuple(np.linspace(-2, 2, bins + 1).tolist()),) * len(names) if bins else (),
    )
    training = method.learns()
    epochs = method.checkpoint_choice().epochs(training.epochs, {}) if training else None
    parts = {method.name: ModelArtifact.of(method, facts, method.build(facts, epochs))}
    weighting = (Weighting(), PolicyStats(map="identity"))
    scorer_files("perf", method.name, parts, weighting, (features, stats)).write(folder)
    return folder


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        for figure in measure(Path(work), ()):
            print(figure)
