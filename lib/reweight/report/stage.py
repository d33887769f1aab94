"""The stage report.

Reads:
    The tables ``metrics`` and ``samples``, ``evaluation.json``, the training losses and the records
    of the stages.

Writes:
    ``report.html``, a self-contained page, and its content as ``report.json``.

Refuses:
    Tables without rows of this run.
"""

import json
from typing import Any

from reweight.config import Run
from reweight.core.baselines import BASELINE
from reweight.core.files import content_hash, write_json
from reweight.core.left_out import left_out
from reweight.core.run import leaves, reads
from reweight.core.run_folder import read_records
from reweight.core.tables import METRICS, SAMPLES
from reweight.evaluate.judges import all_judges
from reweight.evaluate.verdict import disagreements
from reweight.report import page


def diagnosis(run: Run) -> dict[str, str | None]:
    """What the job diagnose found in the samples, if it has been run since they were built."""
    path = run.folder.content("diagnose")
    return {"diagnosis": content_hash(path) if _is_current(run) else "of earlier samples"}


def _is_current(run: Run) -> bool:
    """Whether the job diagnose, if it has been run, has read the samples that are there."""
    records = read_records(run.folder)
    began = [records[s]["started"] for s in ("build_samples", "diagnose") if s in records]
    return began == sorted(began)


def pages(run: Run) -> dict[str, str | None]:
    """The report."""
    files = (run.folder.page("report"), run.folder.content("report"))
    return {path.name: content_hash(path) for path in files}


@reads(diagnosis)
@leaves(pages)
def report(run: Run) -> dict[str, Any]:
    """Writes the report of the run as a self-contained HTML page and as JSON."""
    # Small by nature: metrics, and one row per day and split.
    metrics = run.store.read(METRICS).drop("run_id").toPandas()
    days = (
        run.store.read(SAMPLES)
        # A log may have no times.
        .where("event_time IS NOT NULL")
        .selectExpr("cast(date_trunc('DAY', event_time) AS date) AS day", "split", "label")
        .groupBy("day", "split")
        .agg({"*": "count", "label": "sum"})
        .toDF("day", "split", "rows", "positives")
        .toPandas()
    )
    judges = all_judges(run.config.evaluation.judges)
    evaluation = json.loads(run.folder.evaluation.read_text())
    content = page.content(
        baseline=BASELINE,
        config=run.config.model_dump(mode="json", exclude={"spark", "tracking"}),
        # Without the record of this stage, which is still running.
        records={k: r for k, r in read_records(run.folder).items() if r["status"] != "running"},
        metrics=metrics,
        days=days,
        evaluation=evaluation,
        losses=_losses(run),
        left_out=left_out(run.folder),
        disagreements=disagreements(evaluation["judges"], judges, _visible(run)),
    )
    write_json(run.folder.content("report"), content)
    path = run.folder.page("report")
    path.write_text(page.render(content))
    for line in page.told(content):
        run.say(line)
    reasons = {"left out": content["left_out"]} if content["left_out"] else {}
    return {"report": str(path)} | reasons


def _losses(run: Run) -> dict[str, Any]:
    """The loss curves of the run's own models; none where it uses those of another run."""
    curves = run.folder.models.curves
    if run.config.model_run_id is not None or not curves.exists():
        return {}
    losses: dict[str, Any] = json.loads(curves.read_text())
    return losses


def _visible(run: Run) -> list[str] | None:
    """The faults that the job diagnose found in the log; None if it has not been run on it."""
    path = run.folder.content("diagnose")
    if not path.exists() or not _is_current(run):
        return None
    visible: list[str] = json.loads(path.read_text())["visible"]
    return visible
