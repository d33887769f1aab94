"""The stages: each reads tables, calls the modules beside it, and writes tables."""

from collections.abc import Mapping

from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.core.run import Stage
from reweight.daily.stage import daily
from reweight.diagnose.stage import diagnose
from reweight.evaluate.stage import evaluate
from reweight.explain.stage import explain
from reweight.fit_importance.stage import fit_importance
from reweight.monitor.stage import monitor
from reweight.promote.stage import promote
from reweight.report.stage import report
from reweight.score_weights.stage import score_weights
from reweight.serving.export.stage import export
from reweight.simulate_logs.stage import simulate_logs
from reweight.train_ranker.stage import train_ranker
from reweight.tune.stage import tune

# The pipeline, in the order in which data flows.
PIPELINE: tuple[Stage, ...] = (
    simulate_logs,
    clean_logs,
    build_samples,
    fit_importance,
    score_weights,
    train_ranker,
    evaluate,
    report,
)

# What runs on its own, and the last stage of the pipeline whose results it reads; `daily` reads
# those of another run.
AFTER: Mapping[Stage, Stage] = {
    diagnose: build_samples,
    tune: build_samples,
    explain: fit_importance,
    export: score_weights,
    monitor: score_weights,
    promote: evaluate,
}

__all__ = [
    "PIPELINE",
    "build_samples",
    "clean_logs",
    "daily",
    "diagnose",
    "evaluate",
    "explain",
    "export",
    "fit_importance",
    "monitor",
    "promote",
    "report",
    "score_weights",
    "simulate_logs",
    "train_ranker",
    "tune",
]
