"""The stage explain, which runs on its own after fit_importance.

Reads:
    The table ``samples`` and the folders of the models.

Writes:
    The table ``attributions``, ``explain.html`` and ``explain.json``.

Refuses:
    Models that are missing, and an ``explaining.sample_id`` that is not a sample of the run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import read_stats
from reweight.config import Run
from reweight.core.errors import TableError
from reweight.core.files import write_json
from reweight.core.hashing import uniform
from reweight.core.left_out import left_out, without
from reweight.core.revision import revision
from reweight.core.tables import ATTRIBUTIONS, SAMPLES
from reweight.importance.artifact import ModelArtifact
from reweight.importance.attribution import BESIDE
from reweight.importance.base import ImportanceMethod
from reweight.report import page
from reweight.report.plots import driving
from reweight.score_weights.models import read_models
from reweight.score_weights.scoring import explained

# Features shown for each method on the console.
_SHOWN = 5


def explain(run: Run) -> dict[str, Any]:
    """Attributes importance to features, over the training rows and optionally for one sample.

    It reads `samples` and the fitted models, and writes `attributions`, `explain.html` and
    `explain.json`.
    """
    section, names, models = (
        run.config.explaining,
        list(read_stats(run.folder.features).names),
        _models(run),
    )
    samples = run.store.read(SAMPLES)
    train = samples.where("split = 'train'")
    share = min(1.0, section.rows / max(1, train.count()))
    sampled = train.where(uniform(run.config.seed, "explain", "sample_id") <= share)
    # Before the long work, so that an unknown id fails at once.
    sample = _sample(run, samples, models, names)
    run.store.write(ATTRIBUTIONS, explained(sampled, models, names, section.steps))
    # Small by nature: a row for each method and feature.
    attributions = run.store.read(ATTRIBUTIONS).drop("run_id").toPandas()
    values: dict[str, Any] = {
        "run_id": run.config.run_id,
        "revision": revision(),
        "rows": int(attributions["rows"].max()),
        "methods": _by_method(run, attributions),
        "beside": BESIDE,
        "sample": sample,
    }
    write_json(run.folder.content("explain"), values)
    path = run.folder.page("explain")
    path.write_text(page.rendered("explain.html.j2", values | {"driving": driving}))
    for line in _lines(values):
        run.say(line)
    return {"rows": values["rows"], "report": str(path)}


def _models(run: Run) -> dict[str, ModelArtifact]:
    folder = run.config.model_folder.models
    return read_models(folder, _methods(run), run.folder.features)


def _methods(run: Run) -> tuple[ImportanceMethod, ...]:
    """The methods that have a model."""
    return without(run.config.importance, left_out(run.folder, before="score_weights"))


def _sample(
    run: Run, samples: DataFrame, models: Mapping[str, ModelArtifact], names: Sequence[str]
) -> dict[str, Any] | None:
    """The parts of the requested sample, by method; None if none is requested."""
    section = run.config.explaining
    if section.sample_id is None:
        return None
    row = samples.where(F.col("sample_id") == section.sample_id)
    attributions = explained(row, models, names, section.steps).toPandas()
    if attributions.empty:
        raise TableError(
            "the sample to explain does not exist",
            expected="an explaining.sample_id from the table 'samples' of this run",
            got=str(section.sample_id),
            fix="look the id up in the table, or leave explaining.sample_id out",
        )
    # As text: a JSON reader may round an integer of 19 digits.
    return {"sample_id": str(section.sample_id), "methods": _by_method(run, attributions)}


def _by_method(run: Run, attributions: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    return {m.name: _sorted(attributions, m.name) for m in _methods(run)}


def _sorted(attributions: pd.DataFrame, method: str) -> list[dict[str, Any]]:
    """The parts of a method, strongest first."""
    parts = attributions[attributions["method"] == method].drop(columns=["method", "rows"])
    parts = parts.sort_values(["mean_abs", "part"], ascending=[False, True])
    parts = parts.astype(object).where(parts.notna(), None)
    return [dict(zip(parts.columns, row, strict=True)) for row in parts.itertuples(index=False)]


def _lines(values: dict[str, Any]) -> list[str]:
    """The strongest parts of each method, as lines of text."""
    lines = []
    explained = values["sample"] or values
    if values["sample"]:
        lines.append(f"sample {explained['sample_id']}:")
    for method, parts in explained["methods"].items():
        moving = [p for p in parts if p["part"] not in BESIDE and p["mean_abs"] > 0]
        shown = ", ".join(f"{p['part']} {p['mean']:+.3g}" for p in moving[:_SHOWN])
        lines.append(f"{method}: {shown or 'no feature affects it'}")
    return lines
