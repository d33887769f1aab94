"""The stage fit_importance.

Reads:
    The table ``samples``. With ``model_run_id`` the stage does nothing: that run's models are used.

Writes:
    A self-contained folder ``models/<method>`` for each method (tensors, config, feature
    statistics; of position models ``propensities.json``), and ``models/curves.json``, the losses by
    epoch. Trained methods write checkpoints
    during training.

Leaves out:
    Methods that refuse the rows (see their pages), whose weights are known to leave too few
    effective samples before anything is trained, or whose training diverges. The summary gives the
    reason of each. With ``strict: true``, or if no other method is left, it is an error.

Refuses:
    Methods that cut features into different numbers of bins, fewer free slots than
    ``fitting.ranks``, and ranks that fail or hang more than ``fitting.retries`` times.
"""

import json
import shutil
from typing import Any

from reweight.config import Run, RunConfig
from reweight.core.digest import digest
from reweight.core.files import content_hash, write_json
from reweight.core.left_out import Refusals, record_left_out, refused_by
from reweight.core.run import leaves, reads
from reweight.core.run_folder import ModelsFolder
from reweight.core.tables import SAMPLES
from reweight.fit_importance.fit import fit_methods
from reweight.fit_importance.foreseen import Sections, check_foreseen
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.known_weights import KnownWeights, refused_weights
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod


def refused_by_models(run: Run) -> dict[str, str | None]:
    """With ``model_run_id``, the methods for which that run has no models."""
    other = run.config.model_run_id
    if other is None:
        return {}
    refused = refused_by(run.config.model_folder, "fit_importance")
    return {f"methods left out of {other}": digest(json.dumps(refused))}


def models_fitted(run: Run) -> dict[str, str | None]:
    """The models, and what was decided about the methods."""
    config, folder = run.config, run.folder
    decided = {"left out": digest(json.dumps(refused_by(folder, "fit_importance")))}
    if config.model_run_id is not None:
        return {**decided}
    models = folder.models
    return {
        **decided,
        # Of the weight policy only its judgement of the weights that are known counts.
        "weights refused": digest(json.dumps(refused_weights(config, models))),
        "curves": content_hash(models.curves),
        # A later stage leaves the policy there.
        **{
            method.name: content_hash(models.model(method.name), without={models.policy("").name})
            for method in config.importance
        },
    }


@reads(refused_by_models)
@leaves(models_fitted, instead_of=("weighting",))
def fit_importance(run: Run) -> dict[str, Any]:
    """Fits the importance methods on executors; each leaves a self-contained model folder."""
    config, models = run.config, run.folder.models
    if config.model_run_id is not None:
        reasons = refused_by(config.model_folder, "fit_importance")
        record_left_out(run.folder, "fit_importance", reasons)
        skipped = {"skipped": f"the models of run '{config.model_run_id}' are used"}
        return skipped | ({"left out": reasons} if reasons else {})
    # Counts of the rows that are there do not foretell weights that include design weights.
    known = None if config.sampling.counted else KnownWeights(config.weighting)
    job, refusals = FitJob.of(run, known), Refusals(strict=config.strict)
    check_config(config, refusals)
    methods, samples = refusals.remaining(config.importance), run.store.read(SAMPLES)
    summary = fit_methods(job, samples, methods, models, refusals)
    write_json(models.known, known.seen if known else {})
    record_left_out(run.folder, "fit_importance", refusals.reasons())
    for method in refusals.remaining(config.importance):
        shutil.copyfile(run.folder.features, models.features(method.name))
        _write_propensities(method, models)
    shutil.rmtree(job.snapshots, ignore_errors=True)
    return summary | refusals.summary()


def _write_propensities(method: ImportanceMethod, models: ModelsFolder) -> None:
    """Leaves what a position model estimated for the judges, which know no torch."""
    models.propensities(method.name).unlink(missing_ok=True)
    if method.estimates_propensities:
        fitted = ModelArtifact.read(models.model(method.name)).model()
        write_json(models.propensities(method.name), fitted.propensities())


def check_config(config: RunConfig, refusals: Refusals | None = None) -> None:
    """Refuses methods that the config alone shows to be impossible; the runner asks at the start.

    Args:
        config: of the run.
        refusals: receives the methods; by default those that ``strict`` asks for.
    """
    refusals = refusals or Refusals(strict=config.strict)
    sections = Sections(config.cleaning, config.sampling, config.splits, config.features)
    check_foreseen(config.importance, sections, refusals)
