"""Methods that are refused are left out with the reason, and the others go on."""

import json
import shutil
from collections.abc import Callable, Iterator

import pytest

from reweight.config import Run
from reweight.core.errors import ConfigError, ReweightError, TrainingError, WeightError
from reweight.core.files import write_json
from reweight.core.run_folder import read_records
from reweight.core.tables import METRICS, PREDICTIONS, SAMPLES, WEIGHTS
from reweight.evaluate.stage import evaluate
from reweight.fit_importance.stage import fit_importance
from reweight.report.stage import report
from reweight.runner.job import run_stages
from reweight.runner.notebook import load
from reweight.runner.records import run_stage
from reweight.score_weights.stage import score_weights
from reweight.train_ranker.stage import train_ranker

pytestmark = pytest.mark.usefixtures("ranks_here")

OpenRun = Callable[..., Run]
SMALL = "training: {members: 2, hidden: [2], epochs: 1}"
DIVERGES = "training: {members: 2, hidden: [2], epochs: 2, learning_rate: 1.0e+30}"
# Which of them each stage refuses.
AT_FITTING = ("class_balanced", "value_weighted", "diverged", "both", "knn_shapley")
AT_SCORING = ("sharp",)
METHODS = (
    "importance=[{method: random}, {method: class_balanced}, {method: value_weighted}, "
    f"{{method: self_confidence, {SMALL}}}, "
    f"{{method: self_confidence, name: diverged, {DIVERGES}}}, "
    "{method: product, name: both, of: [random, class_balanced]}, "
    "{method: knn_shapley, max_rows: 10}, "
    f"{{method: focal, name: sharp, gamma: 60, {SMALL}}}]"
)
OVERRIDES = (METHODS, "weighting.ess_refuse=0.5", "ranking.recalibrate=[]")


@pytest.fixture(scope="module")
def left(run: Run, open_run: OpenRun, ranks_here: None) -> Iterator[Run]:
    """A run of the same samples, with methods that are refused at different times."""
    opened = open_run("left", *OVERRIDES)
    # Few positives, so that the weights of class_balanced are known to be too uneven.
    rows = run.store.read(SAMPLES).drop("run_id")
    opened.store.write(SAMPLES, rows.where("label = 0 OR sample_id % 2 = 0 OR split <> 'train'"))
    shutil.copyfile(run.folder.features, opened.folder.features)
    # As an earlier fit leaves it, which did not refuse the method.
    stale = opened.folder.models.propensities("diverged")
    write_json(stale, [1.0, 1.0, 0.5])
    for stage in (fit_importance, score_weights, train_ranker, evaluate, report):
        run_stage(opened, stage)
    assert not stale.exists()
    yield opened


def test_each_stage_says_which_methods_it_left_out_and_why(left: Run) -> None:
    records = {name: r["summary"] for name, r in read_records(left.folder).items()}
    assert set(records["fit_importance"]["left out"]) == set(AT_FITTING)
    assert set(records["score_weights"]["left out"]) == set(AT_SCORING)
    assert "left out" not in records["train_ranker"]
    reasons = records["fit_importance"]["left out"]
    assert "too few effective samples" in reasons["class_balanced"]
    assert "sampling.keep.value" in reasons["value_weighted"]
    assert "diverged" in reasons["diverged"]
    assert "'class_balanced'" in reasons["both"]
    assert "for small data only" in reasons["knn_shapley"]
    assert "too few effective samples" in records["score_weights"]["left out"]["sharp"]


def test_no_propensities_are_left_of_a_method_that_is_left_out(left: Run) -> None:
    assert not left.folder.models.propensities("diverged").exists()


def test_the_tables_hold_the_methods_that_are_left(left: Run) -> None:
    kept = {"uniform", "random", "self_confidence"}
    for table in (WEIGHTS, PREDICTIONS, METRICS):
        rows = left.store.read(table).select("method").distinct().collect()
        assert {row["method"] for row in rows} - {"uniform_recalibrated"} == kept


def test_the_report_and_the_notebook_name_what_was_left_out(left: Run) -> None:
    content = json.loads(left.folder.content("report").read_text())
    assert set(content["left_out"]) == {*AT_FITTING, *AT_SCORING}
    assert content["methods"] == ["uniform", "random", "self_confidence"]
    html = left.folder.page("report").read_text()
    view = load("left", root=left.config.root)
    assert view.left_out == content["left_out"]
    for name, reason in content["left_out"].items():
        assert f"{name}  left out: {reason}" in repr(view)
        assert f"<b>{name}</b>" in html
        assert f"<b>{name}</b> left out" in view._repr_html_()


def test_a_strict_run_raises_the_first_refusal(left: Run, open_run: OpenRun) -> None:
    samples = left.store.read(SAMPLES).drop("run_id")
    for run_id, importance, kind, text in (
        ("strict", METHODS, ConfigError, "'value_weighted' lacks"),
        ("uneven", "importance=[{method: class_balanced}]", WeightError, "'class_balanced'"),
        ("apart", f"importance=[{{method: self_confidence, {DIVERGES}}}]", TrainingError, "diverg"),
    ):
        strict = ["strict=true"] if run_id == "strict" else []
        other = open_run(run_id, importance, *OVERRIDES[1:], *strict)
        other.store.write(SAMPLES, samples)
        shutil.copyfile(left.folder.features, other.folder.features)
        # Without `strict`, an error remains where no method is left.
        with pytest.raises(kind, match=text):
            fit_importance(other)


def test_what_the_config_shows_is_said_before_the_first_stage(open_run: OpenRun) -> None:
    began = []

    def clean(run: Run) -> dict[str, str]:
        began.append(run)
        return {}

    features = "features.numeric.place=log(1 + cast(position as double))"
    opened = open_run("early", "importance=[{method: ipw_position}]", features)
    with pytest.raises(ReweightError) as caught:
        run_stages(opened, (clean, fit_importance))
    assert "features.numeric.place: log(1 + cast(position as double))" in caught.value.got
    assert not began
