"""The finished run, of which something changes: where it starts, and what it then leaves."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines import assert_same_tables, tables
from reweight.config import Run, RunConfig, read_config
from reweight.core.run_folder import read_records
from reweight.fit_importance.known_weights import refused_weights
from reweight.runner.job import run_stages
from reweight.runner.pipeline import PIPELINE

pytestmark = pytest.mark.usefixtures("ranks_here")

NAMES = [stage.__name__ for stage in PIPELINE]
# The first stage to which a change of the setting matters.
STARTS = {
    **dict.fromkeys(("simulation", "seed"), "simulate_logs"),
    "cleaning": "clean_logs",
    **dict.fromkeys(
        ("sampling", "splits", "features", "model_run_id", "warm_start"), "build_samples"
    ),
    **dict.fromkeys(("importance", "fitting", "strict"), "fit_importance"),
    "weighting": "score_weights",
    "rankers": "train_ranker",
    "evaluation": "evaluate",
    # It shows the whole config.
    **dict.fromkeys(("tuning", "explaining", "exporting", "daily", "data_dir"), "report"),
}


def test_each_setting_concerns_the_stages_from_the_first_that_reads_it(run: Run) -> None:
    records = read_records(run.folder)
    read = {stage: records[stage]["settings"] for stage in NAMES}
    starts = {
        setting: next(stage for stage in NAMES if setting in read[stage])
        for setting in run.config.settings()
    }
    assert starts == STARTS
    for own in read.values():
        assert own.items() <= run.config.settings().items()


def test_each_file_of_the_run_is_known_to_the_stage_that_left_it(run: Run) -> None:
    records = read_records(run.folder)
    known = {name for stage in NAMES for name in records[stage]["left"]}
    methods = {method.name for method in run.config.importance}
    assert methods < known
    # Those beside the models and rankers, but for what stages of other jobs leave.
    files = {path.name for path in run.folder.path.glob("*.*")} - {"spark.log", "config.json"}
    others = {"tuning.json", "explain.json", "explain.html", "owner.json", "run.lock"}
    assert files - others <= known | {"left_out.json"}


def test_a_policy_that_refuses_other_known_weights_concerns_the_fitting(run: Run) -> None:
    models = run.folder.models

    def refused(*overrides: str) -> set[str]:
        config = read_config(RunConfig, run.config.kept(), overrides)
        return set(refused_weights(config, models))

    assert refused() == refused("weighting.temper=0.5") == set()
    assert refused("weighting.ess_refuse=0.9") == {"class_balanced"}


@pytest.mark.timeout(900)
def test_what_changed_leaves_the_tables_of_a_run_from_nothing(
    run: Run, spark: SparkSession, tmp_path: Path, logged: Callable[[], str]
) -> None:
    root, nothing = tmp_path / "root", tmp_path / "nothing"
    for folder in ("tables", "runs/first"):
        shutil.copytree(Path(run.config.root) / folder, root / folder)

    def opened(root: Path, *overrides: str) -> Run:
        return Run.open(
            spark, read_config(RunConfig, run.config.kept(), (f"root={root}", *overrides))
        )

    def begun(run: Run, upto: str = "report") -> list[str]:
        logged()
        run_stages(run, PIPELINE[: NAMES.index(upto) + 1])
        return re.findall(r"\[\d/\d\] (\w+)", logged())

    # A root that was moved is the same.
    assert begun(opened(root)) == []
    weighting = ("weighting.temper=0.5",)
    assert begun(opened(root, *weighting), "score_weights") == ["score_weights"]
    changed = (*weighting, "features.numeric.log_price=price", "rankers.0.max_iter=15")
    assert begun(opened(root, *changed), "train_ranker") == NAMES[2:6]
    places = (f"simulation.path={nothing}/raw", f"cleaning.sources.log.path={nothing}/raw")
    assert begun(opened(nothing, *changed, *places), "train_ranker") == NAMES[:6]
    names = ("truth", "events", "rejected", "samples", "weights", "predictions")
    found = {
        name: rows[rows["run_id"] == "first"].reset_index(drop=True)
        for name, rows in tables(spark, root, names).items()
    }
    assert_same_tables(found, tables(spark, nothing, names))
