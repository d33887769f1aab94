"""A run with several rankers: each is trained on the weights of each method, on the same rows."""

import json
import shutil
from collections.abc import Callable

import pytest
from pyspark.sql import functions as F

from reweight.config import Run
from reweight.core.run_folder import read_records
from reweight.core.tables import METRICS, PREDICTIONS, SAMPLES, WEIGHTS
from reweight.evaluate.stage import evaluate
from reweight.report import page
from reweight.report.stage import report
from reweight.runner.records import run_stage
from reweight.train_ranker import stage
from reweight.train_ranker.stage import train_ranker

pytestmark = pytest.mark.timeout(600)

OpenRun = Callable[..., Run]
RANKERS, METHODS = ("logistic_regression", "boosted", "als"), ("uniform", "random")
OVERRIDES = (
    "importance=[{method: random}]",
    "ranking=null",
    "rankers=[{ranker: logistic_regression, max_iter: 20}, "
    "{ranker: gbt, name: boosted, max_iter: 2, max_depth: 3, ids: false, recalibrate: [random]}, "
    "{ranker: als, item: item, rank: 2, max_iter: 2, blocks: 1}]",
)


@pytest.fixture(scope="module")
def several(run: Run, open_run: OpenRun) -> Run:
    """The samples and two of the weights of the small run."""
    opened = open_run("several", *OVERRIDES)
    opened.store.write(SAMPLES, run.store.read(SAMPLES).drop("run_id"))
    weights = run.store.read(WEIGHTS).drop("run_id")
    opened.store.write(WEIGHTS, weights.where(F.col("method").isin(*METHODS)))
    shutil.copyfile(run.folder.features, opened.folder.features)
    shutil.copytree(run.folder.models.path, opened.folder.models.path)
    made = []

    def counted(*args: object, **kwargs: object) -> object:
        made.append(args)
        return weighted_train(*args, **kwargs)

    weighted_train = stage.weighted_train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "weighted_train", counted)
        run_stage(opened, train_ranker)
    # Features, joins and vectors are made once for all fits.
    assert len(made) == 1
    for own in (evaluate, report):
        run_stage(opened, own)
    return opened


def test_each_sample_has_a_prediction_of_each_ranker_and_method(several: Run, run: Run) -> None:
    rows = several.store.read(PREDICTIONS)
    found = {(r["ranker"], r["method"]): r["count"] for r in _counts(rows)}
    held_out = run.store.read(SAMPLES).where("split in ('validation', 'test')").count()
    assert found == {(ranker, m): held_out for ranker in RANKERS for m in METHODS}
    for ranker in RANKERS:
        for method in METHODS:
            assert (several.folder.ranker(ranker, method) / "shift.json").is_file()


def test_other_rankers_do_not_change_the_first_one(several: Run, run: Run) -> None:
    first = several.store.read(PREDICTIONS).where("ranker = 'logistic_regression'")
    alone = run.store.read(PREDICTIONS).withColumnRenamed("probability", "alone")
    assert {r["ranker"] for r in alone.select("ranker").distinct().collect()} == {
        "logistic_regression"
    }
    both = first.join(alone.select("method", "sample_id", "alone"), ["method", "sample_id"])
    distance = both.agg(F.count("*"), F.max(F.abs(F.col("probability") - F.col("alone")))).first()
    assert distance is not None
    assert distance[0] == first.count()
    assert distance[1] == pytest.approx(0, abs=1e-6)


def test_recalibration_repairs_the_level_of_any_ranker(several: Run) -> None:
    shift = {
        m: json.loads((several.folder.ranker("boosted", m) / "shift.json").read_text())
        for m in METHODS
    }
    assert shift["uniform"] == 0 != shift["random"]


def test_differences_are_within_a_ranker(several: Run) -> None:
    rows = several.store.read(METRICS).toPandas()
    rows = rows[rows["segment"].isna() & (rows["split"] == "test") & (rows["judge"] == "recorded")]
    auc = rows[rows["name"] == "auc"].set_index(["ranker", "kind", "method"])["value"]
    for ranker in RANKERS:
        change = auc[ranker, "value", "random"] - auc[ranker, "value", "uniform"]
        assert auc[ranker, "difference", "random"] == pytest.approx(change)
    # Three models, not one under three names.
    assert auc.xs("value", level="kind").xs("uniform", level="method").nunique() == 3


def test_the_first_ranker_decides_and_the_others_stand_beside_it(several: Run) -> None:
    decision = json.loads(several.folder.decision.read_text())
    assert list(decision["rankers"]) == ["boosted", "als"]
    assert {d["weights"] for d in decision["rankers"].values()} <= set(METHODS)
    assert decision["weights"] in METHODS
    summary = read_records(several.folder)["evaluate"]["summary"]
    assert summary["decision for als"] == decision["rankers"]["als"]["text"]


def test_the_summary_says_what_each_fit_cost_and_who_was_cold(several: Run) -> None:
    summary = read_records(several.folder)["train_ranker"]["summary"]
    assert list(summary["fits"]) == list(RANKERS)
    assert {frozenset(fits) for fits in summary["fits"].values()} == {frozenset(METHODS)}
    assert summary["fits"]["boosted"]["uniform"].startswith("2 trees of ")
    facts = summary["held-out rows"]["als"]
    assert facts["predicted"] * len(RANKERS) * len(METHODS) == summary["predictions"]
    assert facts["by popularity"] >= facts["of users without factors"]


def test_the_page_stands_rankers_side_by_side(several: Run, run: Run) -> None:
    content = json.loads(several.folder.content("report").read_text())
    assert list(content["effects"]) == list(RANKERS)
    cell = content["effects"]["boosted"]["methods"]["random"]["auc"]
    row = several.store.read(METRICS).where(
        "ranker = 'boosted' and method = 'random' and name = 'auc' and kind = 'difference' "
        f"and split = 'test' and segment is null and judge = '{content['effects']['als']['judge']}'"
    )
    assert cell["difference"] == row.toPandas()["value"].item()
    assert "Which weights help which ranker" in several.folder.page("report").read_text()
    lines = page.told(content)
    assert any(line.startswith("method  ") and "boosted, by " in line for line in lines)
    assert any(line.startswith("als: ") for line in lines)
    assert "Which weights help which ranker" not in run.folder.page("report").read_text()


def _counts(rows: object) -> list[dict[str, object]]:
    return [r.asDict() for r in rows.groupBy("ranker", "method").count().collect()]  # type: ignore[attr-defined]
