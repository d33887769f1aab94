"""The stage fit_importance.

Reads:
    The table ``samples``. With ``model_run_id`` the stage does nothing: that run's models are used.

Writes:
    A self-contained folder ``models/<method>`` for each method (tensors, config, feature
    statistics), and ``models/curves.json``, the losses by epoch. Trained methods write checkpoints
    during training.

Refuses:
    Rows that a method refuses (see its page), methods that cut features into different numbers of
    bins, fewer free slots than ``fitting.ranks``, and ranks that fail or hang more than
    ``fitting.retries`` times.
"""

import shutil
from typing import Any

from reweight.config import Run
from reweight.core.tables import SAMPLES
from reweight.fit_importance.fit import fit_methods
from reweight.fit_importance.job import FitJob


def fit_importance(run: Run) -> dict[str, Any]:
    """Fits the importance methods on executors; each leaves a self-contained model folder."""
    config, models = run.config, run.folder.models
    if config.model_run_id is not None:
        return {"skipped": f"the models of run '{config.model_run_id}' are used"}
    job = FitJob.of(run)
    summary = fit_methods(job, run.store.read(SAMPLES), config.importance, models)
    for method in config.importance:
        shutil.copyfile(run.folder.features, models.features(method.name))
    shutil.rmtree(job.snapshots, ignore_errors=True)
    return summary
