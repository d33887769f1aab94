"""Runs started and looked at from Python, in a session that somebody else owns."""

import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import reweight
from reweight.clean_logs.stage import clean_logs
from reweight.config import load_config
from reweight.core.errors import ConfigError, RunError, TableError
from reweight.core.session_kind import set_settings
from reweight.simulate_logs.section import Dirt
from reweight.simulate_logs.stage import simulate_logs

pytestmark = pytest.mark.timeout(600)

DEMO = Path(__file__).parents[1] / "shop.yaml"
SMALL = (
    "simulation.sessions=500",
    "importance=[{method: random}]",
    "features.history={}",
    "ranking.max_iter=5",
    "ranking.recalibrate=[]",
    "evaluation.replicates=100",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def view(spark: SparkSession, root: Path) -> reweight.RunView:
    """The whole line, in a session whose settings are not the library's."""
    others = {
        "spark.sql.ansi.enabled": "true",
        "spark.sql.session.timeZone": "Europe/Vienna",
        "spark.databricks.delta.history.metricsEnabled": "false",
    }
    before = {key: spark.conf.get(key, None) for key in others}
    set_settings(spark, others)
    try:
        found = reweight.run(DEMO, "run_id=whole", f"root={root}", *SMALL)
        assert {key: spark.conf.get(key) for key in others} == others
    finally:
        set_settings(spark, before)
    return found


def test_to_import_the_package_starts_nothing() -> None:
    code = (
        "import reweight, sys; print(reweight.__version__, {'pyspark', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{reweight.__version__} set()"


def test_a_run_gives_its_tables_and_numbers(view: reweight.RunView, spark: SparkSession) -> None:
    samples = view.samples.count()
    assert samples == view.records["build_samples"]["summary"]["samples"]
    assert view.weights.count() == 2 * samples
    assert view.table("predictions").columns == view.predictions.columns
    assert "run_id" not in view.events.columns
    assert {"uniform", "uniform_recalibrated", "random"} == set(view.metrics["method"])
    assert view.config["run_id"] == "whole"
    assert not spark.sparkContext._jsc.sc().isStopped()


def test_a_run_shows_itself(view: reweight.RunView, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = view.report["verdict"]["text"]
    shown = view._repr_html_()
    assert verdict in shown.replace("&#39;", "'")
    assert '<td style="text-align: left">random</td>' in shown
    assert "<script" not in shown
    assert "ranking loss" in repr(view)
    assert view.figures["weights"].startswith("<svg")
    # Outside of a notebook there is nothing that could draw: the same as text.
    view.show()
    assert verdict in capsys.readouterr().out
    view.show("weights")
    assert "report.html" in capsys.readouterr().out
    with pytest.raises(RunError, match="there is no plot 'wheights'"):
        view.show("wheights")


def test_a_run_is_found_again(view: reweight.RunView, root: Path) -> None:
    loaded = reweight.load("whole", root=root)
    assert loaded == view
    assert loaded.weights.count() == view.weights.count()
    with pytest.raises(RunError, match=r"runs \['whole'"):
        reweight.load("hole", root=root)
    with pytest.raises(RunError, match="there is no table 'wheights'"):
        loaded.table("wheights")
    with pytest.raises(TableError, match="has nothing for run 'whole'"):
        loaded.table("benchmark")


def test_a_config_can_be_a_dict_and_a_run_a_few_stages(spark: SparkSession, root: Path) -> None:
    content = load_config(str(DEMO)).kept() | {"run_id": "short", "root": str(root / "short")}
    # What is kept of a config has the list of rankers.
    small = [setting.replace("ranking.", "rankers.0.") for setting in SMALL]
    some = reweight.run(content, *small, stages=(simulate_logs, clean_logs))
    assert some.events.count() == some.records["clean_logs"]["summary"]["events"]
    none = "simulation.dirt={" + ", ".join(f"{k}: 0" for k in Dirt.model_fields) + "}"
    clean = reweight.run(content, *small, none, "run_id=clean", stages=(simulate_logs, clean_logs))
    assert clean.rejected.columns == some.rejected.columns
    assert (clean.rejected.count(), some.rejected.count() > 0) == (0, True)
    assert "clean_logs: done" in repr(some)
    assert '<td style="text-align: left">clean_logs</td>' in some._repr_html_()
    with pytest.raises(RunError, match="has no report yet"):
        some.show()


def test_a_wrong_config_is_told_before_anything_runs(root: Path) -> None:
    with pytest.raises(ConfigError, match="the config is not a valid config"):
        reweight.run({"run_id": "bad", "root": str(root / "bad")})
    with pytest.raises(ConfigError, match="the config file does not exist"):
        reweight.run(root / "none.yaml")
    assert not (root / "bad").exists()
