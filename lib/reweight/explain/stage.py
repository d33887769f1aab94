"""The stage explain, on its own: after fit_importance, what the importance of rows is made of.

Reads:
    The table ``samples`` and the folders of the models.

Writes:
    The table ``attributions``, ``explain.html`` and ``explain.json``.

Refuses:
    Models that are not there, and an ``explaining.sample_id`` that is no sample of the run.
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
from reweight.core.revision import revision
from reweight.core.tables import ATTRIBUTIONS, SAMPLES
from reweight.importance.artifact import ModelArtifact
from reweight.importance.attribution import BESIDE
from reweight.report import page
from reweight.report.plots import driving
from reweight.score_weights.models import read_models
from reweight.score_weights.scoring import explained

# Lines for each method on a console.
_TOLD = 5


def explain(run: Run) -> dict[str, Any]:
    """Attributes importance to features, over the training rows and for one sample if asked.

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
    some = train.where(uniform(run.config.seed, "explain", "sample_id") <= share)
    # Before the long work: an id that is not there is told at once.
    sample = _sample(run, samples, models, names)
    run.store.write(ATTRIBUTIONS, explained(some, models, names, section.steps))
    # Small by nature: a row for each method and feature.
    found = run.store.read(ATTRIBUTIONS).drop("run_id").toPandas()
    values: dict[str, Any] = {
        "run_id": run.config.run_id,
        "revision": revision(),
        "rows": int(found["rows"].max()),
        "methods": _by_method(run, found),
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
    return read_models(folder, run.config.importance, run.folder.features)


def _sample(
    run: Run, samples: DataFrame, models: Mapping[str, ModelArtifact], names: Sequence[str]
) -> dict[str, Any] | None:
    """The parts of the sample that is asked for, by method; None where none is."""
    section = run.config.explaining
    if section.sample_id is None:
        return None
    own = samples.where(F.col("sample_id") == section.sample_id)
    one = explained(own, models, names, section.steps).toPandas()
    if one.empty:
        raise TableError(
            "the sample to explain is not there",
            expected="explaining.sample_id of a row of the table 'samples' of this run",
            got=str(section.sample_id),
            fix="look the id up in the table, or leave explaining.sample_id out",
        )
    # As text: the reader of a page rounds an integer of 19 digits.
    return {"sample_id": str(section.sample_id), "methods": _by_method(run, one)}


def _by_method(run: Run, found: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    return {m.name: _sorted(found, m.name) for m in run.config.importance}


def _sorted(found: pd.DataFrame, method: str) -> list[dict[str, Any]]:
    """The parts of a method, those that move importance most first."""
    own = found[found["method"] == method].drop(columns=["method", "rows"])
    own = own.sort_values(["mean_abs", "part"], ascending=[False, True])
    own = own.astype(object).where(own.notna(), None)
    return [dict(zip(own.columns, row, strict=True)) for row in own.itertuples(index=False)]


def _lines(values: dict[str, Any]) -> list[str]:
    """The parts that move importance most, as lines of text."""
    lines = []
    told = values["sample"] or values
    if values["sample"]:
        lines.append(f"sample {told['sample_id']}:")
    for method, parts in told["methods"].items():
        moving = [p for p in parts if p["part"] not in BESIDE and p["mean_abs"] > 0]
        shown = ", ".join(f"{p['part']} {p['mean']:+.3g}" for p in moving[:_TOLD])
        lines.append(f"{method}: {shown or 'no feature moves it'}")
    return lines
