"""The stages: each reads tables, calls one or two modules of the library, writes tables."""

from reweight.runs import Stage
from reweight.stages.build_samples import build_samples
from reweight.stages.clean_logs import clean_logs
from reweight.stages.diagnose import diagnose
from reweight.stages.evaluate import evaluate
from reweight.stages.explain import explain
from reweight.stages.fit_importance import fit_importance
from reweight.stages.report import report
from reweight.stages.score_weights import score_weights
from reweight.stages.simulate_logs import simulate_logs
from reweight.stages.train_ranker import train_ranker
from reweight.stages.tune import tune

# The line, in the order in which rows flow.
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

__all__ = [
    "PIPELINE",
    "build_samples",
    "clean_logs",
    "diagnose",
    "evaluate",
    "explain",
    "fit_importance",
    "report",
    "score_weights",
    "simulate_logs",
    "train_ranker",
    "tune",
]
