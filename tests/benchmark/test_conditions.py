"""Conditions: worlds with one mechanism each, and who is helped under which."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.benchmark.conditions import page as conditions_page
from reweight.benchmark.conditions import protocol as conditions
from reweight.benchmark.conditions import stage as stages
from reweight.benchmark.conditions.stage import ConditionsRun, conditions_report, judge_conditions
from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import ConditionsConfig, read_config
from reweight.core.errors import ConfigError, TableError
from reweight.core.store_places import open_store
from reweight.core.tables import CONDITIONS
from reweight.runner.records import run_stage
from reweight.simulate_logs.stage import simulate_logs

pytestmark = pytest.mark.timeout(600)

CONF = str(Path(__file__).parents[2] / "conf" / "benchmark" / "conditions.yaml")
SMALL: dict[str, Any] = {
    "conditions": {"seeds": 1, "worlds": {"clean": {}, "missing": {"unrecorded": 0.6}}},
    "importance": [
        {"method": "random"},
        {"method": "self_confidence", "training": {"members": 2, "epochs": 2, "hidden": [4]}},
    ],
    "evaluation": {"replicates": 100},
    "weighting": {"ess_refuse": 0},
}
Found = pd.DataFrame


def opened(spark: SparkSession, folder: Path, *overrides: str) -> ConditionsRun:
    values = yaml.safe_load(Path(CONF).read_text()) | SMALL
    values["features"]["history"] = {}
    values["simulation"]["sessions"] = 500
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return ConditionsRun.open(
        spark, read_config(ConditionsConfig, str(path), (f"root={folder}", *overrides))
    )


@pytest.fixture(scope="module")
def run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConditionsRun]:
    run = opened(spark, tmp_path_factory.mktemp("conditions"))
    for stage in (simulate_logs, clean_logs, build_samples):
        run_stage(run, stage)
    told = run_stage(run, judge_conditions)
    assert (told["worlds"], told["judged now"]) == (2, 2)
    yield run


@pytest.fixture(scope="module")
def found(run: ConditionsRun) -> Found:
    return run.store.read(CONDITIONS).toPandas()


def one(found: Found, condition: str, method: str, name: str, kind: str) -> pd.Series:
    own = found[(found["condition"] == condition) & (found["method"] == method)]
    (index,) = own[(own["name"] == name) & (own["kind"] == kind)].index
    return found.loc[index]


def test_where_nothing_is_wrong_the_recorded_labels_are_the_true_ones(found: Found) -> None:
    for name in ("log_loss", "auc", "pr_auc", "ndcg_at_10"):
        assert one(found, "clean", "oracle", name, "difference")["value"] == 0


def test_where_purchases_are_missing_the_oracle_is_better(found: Found) -> None:
    row = one(found, "missing", "oracle", "log_loss", "difference")
    assert row["value"] < row["high"] < 0


def test_every_method_is_judged_in_every_world(found: Found) -> None:
    assert set(found["kind"]) == {"value", "difference", "cost"}
    methods = found[found["name"] == "log_loss"].groupby("condition")["method"].agg(set)
    wanted = {"random", "self_confidence", "uniform", "oracle"}
    assert methods.to_dict() == {"clean": wanted, "missing": wanted}
    assert one(found, "clean", "uniform", "ess_share", "value")["value"] == 1


def test_the_report_says_who_is_helped(run: ConditionsRun, logged: Callable[[], str]) -> None:
    run_stage(run, conditions_report)
    values = json.loads((run.folder.content("conditions")).read_text())
    assert values["conditions"] == ["clean", "missing"]
    assert values["methods"] == ["random", "self_confidence"]
    said = logged()
    assert "missing" in said
    assert "self_confidence" in said


def test_worlds_that_are_done_are_not_judged_again(
    run: ConditionsRun, found: Found, logged: Callable[[], str]
) -> None:
    lost = found["world"].iloc[0]
    rest = run.spark.createDataFrame(
        found[found["world"] != lost].drop(columns="run_id"), CONDITIONS.schema
    )
    run.store.write(CONDITIONS, rest)
    told = run_stage(run, judge_conditions)
    assert (told["worlds"], told["judged now"], told["rows"]) == (2, 1, len(found))
    said = logged()
    assert "1 of 2 worlds are already done" in said
    assert "2 of 2 worlds" in said
    order = ["world", "method", "name", "kind"]
    again = run.store.read(CONDITIONS).toPandas().sort_values(order).reset_index(drop=True)
    before = found.sort_values(order).reset_index(drop=True)
    timed = before["kind"] == "cost"
    pd.testing.assert_frame_equal(again[~timed], before[~timed])
    assert run_stage(run, judge_conditions)["judged now"] == 0


def test_another_run_shows_its_methods_beside_in_the_same_worlds(
    run: ConditionsRun, spark: SparkSession
) -> None:
    folder = Path(run.config.root)
    (run.folder.page("conditions")).unlink(missing_ok=True)
    beside = opened(spark, folder, "conditions.beside=[mine]")
    mine = run.store.read(CONDITIONS).where("method <> 'self_confidence'").drop("run_id")
    open_store(spark, run.config.root, "mine").write(CONDITIONS, mine)
    run_stage(beside, conditions_report)
    values = json.loads((run.folder.content("conditions")).read_text())
    assert values["methods"] == ["random", "self_confidence", "mine/random"]
    cells = values["metrics"]["auc"]["missing"]
    assert cells["mine/random"]["mean"] == cells["random"]["mean"]
    open_store(spark, run.config.root, "mine").write(CONDITIONS, mine.withColumn("log", F.lit("x")))
    with pytest.raises(TableError, match="did not judge the worlds"):
        run_stage(beside, conditions_report)


def test_what_a_world_depends_on_is_its_log_and_what_is_done_with_it() -> None:
    def hashes(*overrides: str) -> tuple[str, dict[str, str]]:
        config = read_config(ConditionsConfig, CONF, overrides)
        return stages._log_of(config), stages._keys(config)

    log, keys = hashes()
    for same in ("root=/elsewhere", "run_id=b", "conditions.beside=[b]", "explaining.steps=2"):
        assert hashes(same) == (log, keys), same
    for other in ("simulation.sessions=9", "cleaning.max_rejected=0.3", "seed=1"):
        assert hashes(other)[0] != log
        assert not set(hashes(other)[1].values()) & set(keys.values())
    # Another method is judged in the same worlds.
    assert hashes("importance=[{method: random}]")[0] == log
    assert hashes("importance=[{method: random}]")[1] != keys


def rows_of(values: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """Differences in log loss by condition and method, one for each seed."""
    rows: list[dict[str, Any]] = [
        {"condition": c, "seed": s, "method": m, "name": "log_loss", "kind": "difference"}
        | {"value": v, "low": None, "high": None, "reason": None}
        for (c, m), own in values.items()
        for s, v in enumerate(own)
    ]
    return pd.DataFrame(rows)


def test_the_share_of_the_gap_is_that_of_the_means() -> None:
    gap = [-0.1, -0.12, -0.08, -0.11]
    half = [0.5 * g for g in gap]
    rows = rows_of(
        {
            ("noise", "oracle"): gap,
            ("noise", "good"): half,
            ("noise", "bad"): [0.02, 0.03, 0.02, 0.03],
            ("noise", "none"): [0.01, -0.01, 0.02, -0.02],
            ("clean", "oracle"): [0.001, -0.001, 0.002, -0.002],
            ("clean", "good"): [0.001, 0.0012, 0.0009, 0.001],
        }
    )
    values = conditions.content(rows, ["clean", "noise"], ["good", "bad", "none", "lost"])
    noise, clean = (values["metrics"]["log_loss"][c] for c in ("noise", "clean"))
    assert noise["oracle"]["clear"]
    assert noise["good"]["share"] == pytest.approx(0.5)
    assert noise["good"]["share_low"] == pytest.approx(0.5)
    assert noise["good"]["verdict"] == "better"
    assert noise["bad"]["share"] == pytest.approx(-0.025 / 0.1025)
    assert noise["bad"]["verdict"] == "worse"
    assert noise["none"]["verdict"] == "no significant difference"
    assert "lost" not in noise
    # Of a gap that may be none there is no share.
    assert not clean["oracle"]["clear"]
    assert "share" not in clean["good"]
    assert clean["good"]["verdict"] == "worse"
    lines = conditions.table(values, "log_loss")
    assert any("clean" in line and " n.s." in line and "WORSE" in line for line in lines)
    assert any("noise" in line and "+0.50" in line and "failed" in line for line in lines)


def test_where_knowing_the_truth_harms_there_is_no_gap_to_share() -> None:
    rows = rows_of({("c", "oracle"): [0.1, 0.11, 0.1], ("c", "m"): [-0.05, -0.051, -0.05]})
    cells = conditions.content(rows, ["c"], ["m"])["metrics"]["log_loss"]["c"]
    assert not cells["oracle"]["clear"]
    assert "share" not in cells["m"]
    assert cells["m"]["verdict"] == "better"


def test_more_auc_is_better() -> None:
    rows = rows_of({("c", "oracle"): [0.1, 0.11], ("c", "m"): [0.05, 0.051]})
    values = conditions.content(rows.assign(name="auc"), ["c"], ["m"])
    assert values["metrics"]["auc"]["c"]["m"]["verdict"] == "better"
    assert np.isnan(values["metrics"]["log_loss"]["c"]["oracle"]["mean"])


def test_a_condition_that_the_simulation_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="moon") as caught:
        read_config(ConditionsConfig, CONF, ("conditions.worlds.full_moon={moon: 1}",))
    assert "full_moon__0" in str(caught.value)


@pytest.fixture(scope="module")
def made_up() -> dict[str, Any]:
    """Ten seeds of three conditions, with methods that help, harm, and do nothing."""
    draw = np.random.default_rng(0)
    noise = {m: 0.001 * draw.normal(size=10) for m in "abcdefgh"}
    gap = -0.1 + 0.005 * draw.normal(size=10)
    rows = rows_of(
        {
            ("late", "oracle"): list(gap),
            ("late", "helps"): list(0.8 * gap + noise["a"]),
            ("late", "helps_less"): list(0.3 * gap + noise["b"]),
            ("late", "harms"): list(0.02 + noise["c"]),
            ("hopeless", "oracle"): list(gap),
            ("hopeless", "helps"): list(noise["d"]),
            ("hopeless", "harms"): list(0.02 + noise["e"]),
            ("clean", "oracle"): list(noise["f"]),
            ("clean", "helps"): list(noise["g"]),
            ("clean", "harms"): list(noise["h"]),
        }
    )
    names = ["helps", "helps_less", "harms"]
    found = conditions.content(rows, ["late", "hopeless", "clean"], names)
    found["ess"] = [{"condition": "late", "method": "helps", "value": 0.5}]
    return found | {
        "seconds_per_1e6": {"helps": 3.0},
        "run_id": "made_up",
        "revision": "none",
        "references": [],
    }


def test_the_advice_names_what_helps_and_what_harms(made_up: dict[str, Any]) -> None:
    found = conditions_page.advice(made_up)
    assert found["late"].startswith("Use helps, which reaches 0.80 (0.79 to 0.8")
    assert (
        "takes 3 s to fit on a million rows, and leaves an effective sample size of 50%"
        in found["late"]
    )
    assert "Also better than uniform: helps_less. Avoid harms" in found["late"]
    assert found["hopeless"].startswith("Use uniform: no method is significantly better")
    assert "Avoid harms: worse than uniform" in found["hopeless"]
    assert found["clean"].startswith("Use uniform: even knowing the truth")
    assert "Avoid" not in found["clean"]


def test_what_helps_is_told_though_the_oracle_does_not() -> None:
    rows = rows_of({("c", "oracle"): [0.1, -0.1, 0.1], ("c", "m"): [-0.05, -0.051, -0.05]})
    found = conditions_page.advice(conditions.content(rows, ["c"], ["m"]))
    assert found["c"].endswith("Still better than uniform: m.")


def test_the_page_shows_every_cell_and_what_is_worse(made_up: dict[str, Any]) -> None:
    page = conditions_page.render(made_up)
    assert page.count(" WORSE</td>") == 2
    assert "+0.80<" in page
    assert ">failed<" in page  # helps_less where it was not judged
    worse, good = "rgba(213, 94, 0", "rgba(0, 158, 115"
    assert page.count(worse) == 2
    assert page.count(good) == 2
    assert "http" not in page.replace("http-equiv", "")


def test_methods_that_do_nothing_are_called_better_in_one_condition_of_twenty() -> None:
    """With a 95 % interval for each of eight it would be in one of three."""
    draw = np.random.default_rng(1)
    names, count = [f"m{i}" for i in range(8)], 200
    worlds = [f"c{i}" for i in range(count)]
    values = {(c, m): list(draw.normal(size=5)) for c in worlds for m in [*names, "oracle"]}
    cells = conditions.content(rows_of(values), worlds, names)["metrics"]["log_loss"]
    wrong = [any(cells[c][m]["verdict"] != conditions.NO_DIFFERENCE for m in names) for c in worlds]
    assert np.mean(wrong) < 0.08
    alone = [any(cells[c][m]["low"] > 0 or cells[c][m]["high"] < 0 for m in names) for c in worlds]
    assert np.mean(alone) > 0.2
