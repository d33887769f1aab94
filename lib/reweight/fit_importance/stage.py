"""The stage fit_importance.

Reads:
    The table ``samples``. With ``model_run_id`` the stage does nothing: that run's models are used.
    With ``warm_start`` also the models of that run.

Writes:
    A self-contained folder ``models/<method>`` for each method (tensors, config, feature
    statistics; of position models ``propensities.json``), and ``models/curves.json``, the losses by
    epoch. Trained methods write checkpoints
    during training. ``models/ids.safetensors`` notes the ids that were trained on, and with
    ``warm_start`` ``models/updated.json`` how many parameters.

Leaves out:
    Methods that refuse the rows (see their pages), whose weights are known to leave too few
    effective samples before anything is trained, whose training diverges, or which cannot start
    from the model that ``warm_start`` names: there is none, or one of another method, of other
    settings of its training, of another seed or of other features, or its first hidden layer is
    too small for ``warm_start.rank``. The summary gives the reason of each. With ``strict: true``,
    or if no other method is left, it is an error.

Refuses:
    Methods that cut features into different numbers of bins, fewer free slots than
    ``fitting.ranks``, ranks that fail or hang more than ``fitting.retries`` times, and a
    ``warm_start`` from a run without models of its own.
"""

import json
import shutil
from typing import Any

from reweight.config import Run, RunConfig
from reweight.core.digest import digest
from reweight.core.files import content_hash, write_json
from reweight.core.left_out import (
    Refusals,
    record_left_out,
    refuse_combinations,
    refused_by,
)
from reweight.core.run import leaves, reads
from reweight.core.run_folder import ModelsFolder
from reweight.core.tables import SAMPLES
from reweight.fit_importance.fit import fit_methods
from reweight.fit_importance.foreseen import Sections, check_foreseen
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.known_weights import KnownWeights, refused_weights
from reweight.fit_importance.starting_models import (
    check_features,
    check_models,
    model_version,
    models_read,
    start_folder,
)
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod


def models_before(run: Run) -> dict[str, str | None]:
    """What other runs have of the methods: the models to start from, or those without models."""
    config = run.config
    if config.warm_start is not None:
        start = start_folder(config.warm_start, config.statistics_folder)
        return {**models_read(start, config.importance)}
    other = config.model_run_id
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
        "ids": content_hash(models.ids),
        **{method.name: model_version(models, method.name) for method in config.importance},
    }


@reads(models_before)
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
    refusals, start = Refusals(strict=config.strict), None
    check_config(config, refusals)
    # Judges read what is there, whatever it was that a method was left out for.
    for method in config.importance:
        models.propensities(method.name).unlink(missing_ok=True)
    if (section := config.warm_start) is not None:
        earlier, left = config.statistics_folder, refusals.remaining(config.importance)
        check_features(section, earlier.models, left, run.folder.features, refusals)
        start = start_folder(section, earlier)
    job = FitJob.of(run, known, start)
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
    if config.warm_start is not None:
        methods, earlier = refusals.remaining(config.importance), config.statistics_folder
        check_models(config.warm_start, earlier, methods, config.seed, refusals)
        refuse_combinations(config.importance, refusals)
