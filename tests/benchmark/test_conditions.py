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

from reweight.benchmark.conditions import agreement, curves
from reweight.benchmark.conditions import page as conditions_page
from reweight.benchmark.conditions import protocol as conditions
from reweight.benchmark.conditions import stage as stages
from reweight.benchmark.conditions.stage import ConditionsRun, conditions_report, judge_conditions
from reweight.benchmark.conditions.worlds import POSITION_AS_FEATURE
from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import ConditionsConfig, read_config
from reweight.core.errors import ConfigError, TableError
from reweight.core.store_places import open_store
from reweight.core.tables import CONDITIONS
from reweight.runner.records import run_stage
from reweight.simulate_logs.stage import simulate_logs
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression

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
LEADING = conditions_page.LEADING


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
    own = own[(own["judge"] == "truth") | own["judge"].isna()]
    (index,) = own[(own["name"] == name) & (own["kind"] == kind)].index
    return found.loc[index]


def test_where_nothing_is_wrong_the_recorded_labels_are_the_true_ones(found: Found) -> None:
    for name in ("log_loss", "auc", "pr_auc", "ndcg_at_10"):
        assert one(found, "clean", "oracle", name, "difference")["value"] == 0


def test_where_purchases_are_missing_the_oracle_is_better(found: Found) -> None:
    row = one(found, "missing", "oracle", "log_loss", "difference")
    assert row["value"] < row["high"] < 0


def test_every_method_is_judged_in_every_world(found: Found) -> None:
    assert set(found["kind"]) == {"value", "difference", "verdict", "cost"}
    assert set(found["judge"].dropna()) == {"truth", "recorded"}
    assert found["size"].isna().all()
    methods = found[found["name"] == "log_loss"].groupby("condition")["method"].agg(set)
    arms = {"uniform_recalibrated", "position_as_feature"}
    wanted = {"random", "self_confidence", "uniform", "oracle"} | arms
    assert methods.to_dict() == {"clean": wanted, "missing": wanted}
    assert one(found, "clean", "uniform", "ess_share", "value")["value"] == 1


def test_the_report_says_who_is_helped(run: ConditionsRun, logged: Callable[[], str]) -> None:
    run_stage(run, conditions_report)
    values = json.loads((run.folder.content("conditions")).read_text())
    assert values["conditions"] == ["clean", "missing"]
    arms = ["uniform_recalibrated", "position_as_feature"]
    assert values["methods"] == [*arms, "random", "self_confidence"]
    assert not run.folder.worlds.exists()
    said = logged()
    assert "missing" in said
    assert "self_confidence" in said


def test_worlds_that_are_done_are_not_judged_again(
    run: ConditionsRun, found: Found, logged: Callable[[], str]
) -> None:
    lost = found["world"].iloc[0]
    others = found[found["world"] != lost].drop(columns="run_id").astype(object)
    rest = run.spark.createDataFrame(others.where(others.notna(), None), CONDITIONS.schema)
    run.store.write(CONDITIONS, rest)
    told = run_stage(run, judge_conditions)
    assert (told["worlds"], told["judged now"], told["rows"]) == (2, 1, len(found))
    said = logged()
    assert "1 of 2 worlds are already done" in said
    assert "2 of 2 worlds" in said
    order = ["world", "judge", "method", "name", "kind"]
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
    # A run with other methods has other keys of the same worlds.
    mine = mine.withColumn("world", F.concat(F.lit("mine"), "world"))
    open_store(spark, run.config.root, "mine").write(CONDITIONS, mine)
    run_stage(beside, conditions_report)
    values = json.loads((run.folder.content("conditions")).read_text())
    assert values["methods"][2:] == ["random", "self_confidence", "mine/random"]
    cells = values["metrics"]["auc"]["missing"]
    assert cells["mine/random"]["mean"] == cells["random"]["mean"]
    assert {row["condition"]: row["worlds"] for row in values["judges"]} == {
        "clean": 1,
        "missing": 1,
        "all": 2,
    }
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
    # Differences of other rankers, or measured in another way, are shares of another gap.
    for other in ("rankers=[{ranker: lightgbm}]", "evaluation.recalibration=isotonic"):
        assert hashes(other)[0] != log, other
    for same in ("ranking.recalibrate=[random]", "fitting.batch_size=7"):
        assert hashes("importance=[{method: random}]", same)[0] == log, same
    deep = "rankers=[{ranker: deep}]"
    assert hashes(deep, "fitting.batch_size=7")[0] != hashes(deep)[0]
    # Another method is judged in the same worlds.
    assert hashes("importance=[{method: random}]")[0] == log
    assert hashes("importance=[{method: random}]")[1] != keys


def rows_of(values: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """Differences in the ranking part of log loss by condition and method, one for each seed."""
    of = {"judge": "truth", "size": None, "name": LEADING, "kind": "difference"}
    rows: list[dict[str, Any]] = [
        {"world": f"{c}{s}", "condition": c, "seed": s, "method": m, **of}
        | {"value": v, "low": v - 0.001, "high": v + 0.001, "reason": None}
        for (c, m), own in values.items()
        for s, v in enumerate(own)
    ]
    return pd.DataFrame(rows)


def test_the_verdicts_of_another_run_are_not_counted() -> None:
    gap = [-0.1, -0.11, -0.09]
    rows = rows_of({("c", "oracle"): gap, ("c", "m"): gap})
    verdicts = rows.assign(judge="recorded", name="outcome", kind="verdict", reason="helps")
    rows = pd.concat([rows, verdicts[verdicts["method"] == "m"]])
    other = stages._methods_of(rows.assign(world="other " + rows["world"]), "them")
    assert set(other["method"]) == {"them/m"}
    found = conditions.content(pd.concat([rows, other]), ["c"], ["m", "them/m"])
    assert {(row["worlds"], row["helps"]) for row in found["judges"]} == {(3, 3)}
    assert found["metrics"][LEADING]["c"]["them/m"]["share"] == pytest.approx(1)


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
    methods = ["good", "bad", "none", "lost", POSITION_AS_FEATURE]
    values = conditions.content(rows, ["clean", "noise"], methods)
    noise, clean = (values["metrics"][LEADING][c] for c in ("noise", "clean"))
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
    lines = conditions.table(values, LEADING)
    assert any("clean" in line and " n.s." in line and "WORSE" in line for line in lines)
    # A method that is not there failed; without positions there is none to take as a feature.
    assert any("noise" in line and "+0.50" in line and "failed" in line for line in lines)
    assert all(line.endswith("-") for line in lines[2:])


def test_where_knowing_the_truth_harms_there_is_no_gap_to_share() -> None:
    rows = rows_of({("c", "oracle"): [0.1, 0.11, 0.1], ("c", "m"): [-0.05, -0.051, -0.05]})
    cells = conditions.content(rows, ["c"], ["m"])["metrics"][LEADING]["c"]
    assert not cells["oracle"]["clear"]
    assert "share" not in cells["m"]
    assert cells["m"]["verdict"] == "better"


def test_a_method_without_the_seeds_of_the_gap_has_no_share() -> None:
    gap = [-0.02, -0.018, -0.022, -0.019, -0.0005]
    rows = rows_of(
        {
            ("c", "oracle"): gap,
            ("c", "all"): [0.5 * g for g in gap],
            ("c", "last"): [0.0] * 3 + [-0.005, -0.0052],
        }
    )
    # It ran in the last two worlds, one of which has no gap.
    rows = rows[(rows["method"] != "last") | (rows["seed"] > 2)]
    values = conditions.content(rows, ["c"], ["all", "last"])
    cells = values["metrics"][LEADING]["c"]
    assert cells["oracle"]["clear"]
    assert cells["all"]["share"] == pytest.approx(0.5)
    assert "share" not in cells["last"]
    assert cells["last"]["verdict"] == "better"
    assert conditions.told(cells["last"], "last") == "-0.0051"
    alone = conditions_page.advice(conditions.content(rows, ["c"], ["last"]))
    assert alone["c"].startswith("Use last, which is better than uniform (in the worlds that it ha")


def test_without_a_test_of_the_gap_there_is_no_advice() -> None:
    one_world = rows_of({("c", "oracle"): [-0.1], ("c", "m"): [-0.08]})
    lost = {"name": "failed", "kind": "failed", "value": np.nan, "reason": "out of memory"}
    lost_worlds = one_world[one_world["method"] == "m"].assign(judge=None, **lost)
    for rows, words, shown in (
        (one_world, "Cannot tell from one world", "-0.1000"),
        (lost_worlds, "Cannot tell: no world", " -"),
    ):
        values = conditions.content(rows, ["c"], ["m"])
        assert conditions_page.advice(values)["c"].startswith(words)
        assert shown in conditions.table(values, LEADING)[-1]
        page = conditions_page.render(values | {"run_id": "", "revision": "", "references": []})
        assert words in page
        assert ">+nan n.s.<" not in page


@pytest.mark.parametrize("name", ["Oracle", "position_as_feature"])
def test_names_that_the_worlds_add_are_taken(name: str) -> None:
    with pytest.raises(ConfigError, match="set another `name`") as caught:
        read_config(ConditionsConfig, CONF, (f"importance=[{{method: random, name: {name}}}]",))
    assert name.lower() in str(caught.value)


def test_more_auc_is_better() -> None:
    rows = rows_of({("c", "oracle"): [0.1, 0.11], ("c", "m"): [0.05, 0.051]})
    values = conditions.content(rows.assign(name="auc"), ["c"], ["m"])
    assert values["metrics"]["auc"]["c"]["m"]["verdict"] == "better"
    assert np.isnan(values["metrics"]["pr_auc"]["c"]["oracle"]["mean"])


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
    cells = conditions.content(rows_of(values), worlds, names)["metrics"][LEADING]
    wrong = [any(cells[c][m]["verdict"] != conditions.NO_DIFFERENCE for m in names) for c in worlds]
    assert np.mean(wrong) < 0.08
    alone = [any(cells[c][m]["low"] > 0 or cells[c][m]["high"] < 0 for m in names) for c in worlds]
    assert np.mean(alone) > 0.2


def test_worlds_of_several_sizes_have_sessions_and_users_in_proportion() -> None:
    overrides = ("conditions.sizes=[200000,20000]", "conditions.only=[position_one]")
    config = read_config(ConditionsConfig, CONF, (*overrides, "conditions.seeds=2"))
    assert config.simulation
    worlds = config.simulation.worlds
    named = [f"position_one__{size}__{seed}" for size in (20_000, 200_000) for seed in (0, 1)]
    assert list(worlds) == named
    assert worlds["position_one__200000__1"] == {"eta": 1, "sessions": 20_000, "users": 3_000}
    assert config.conditions.labels(["any"]) == [
        "position_one at 20,000",
        "position_one at 200,000",
    ]
    with pytest.raises(ConfigError, match="nothing"):
        read_config(ConditionsConfig, CONF, ("conditions.only=[nothing]",))


def test_the_worlds_are_ranked_in_memory_by_rankers_that_can() -> None:
    (ranker,) = read_config(ConditionsConfig, CONF, ("ranking.C=0.5",)).in_memory
    assert ranker == LogisticRegression(C=0.5)
    with pytest.raises(ConfigError, match="in memory, by logistic_regression, lightgbm or deep"):
        read_config(ConditionsConfig, CONF, ("rankers=[{ranker: gbt}]",))
    both = (
        "rankers=[{ranker: logistic_regression}, {ranker: lightgbm}]",
        "conditions.only=[drift]",
    )
    config = read_config(ConditionsConfig, CONF, both)
    names = [ranker.name for ranker in config.in_memory]
    assert config.conditions.labels(names) == ["drift", "drift, lightgbm"]


@pytest.mark.parametrize("sizes", ["[20000,2000000]", "[20000,20000]", "[10]"])
def test_sizes_beyond_the_memory_of_a_task_are_refused(sizes: str) -> None:
    with pytest.raises(ConfigError, match="1,500,000 samples") as caught:
        read_config(ConditionsConfig, CONF, (f"conditions.sizes={sizes}",))
    assert "conditions.sizes" in str(caught.value)


def sized() -> dict[str, Any]:
    """Worlds of three sizes: one method pays from the second, another at none."""
    draw = np.random.default_rng(0)
    frames = []
    for size, share in ((20_000, 0.0), (200_000, 0.5), (1_000_000, 0.8)):
        gap = -0.01 + 0.0005 * draw.normal(size=5)
        noise = 0.0005 * draw.normal(size=(2, 5))
        values = {
            ("one", "oracle"): list(gap),
            ("one", "grows"): list(share * gap + noise[0]),
            ("one", "never"): list(0.001 + noise[1]),
            ("one", "uniform_recalibrated"): [0.0] * 5,
        }
        frames.append(rows_of(values).assign(size=size))
    frames += [frame.assign(name="auc", value=-frame["value"]) for frame in frames]
    labels = [f"one at {size}" for size in ("20,000", "200,000", "1,000,000")]
    methods = ["uniform_recalibrated", "grows", "never"]
    return conditions.content(pd.concat(frames), labels, methods)


def test_the_page_begins_with_the_size_at_which_a_method_pays() -> None:
    values = sized()
    own = values["curves"]["one"]
    assert own["pays"] == {"grows": 200_000, "never": None}
    shares = [point["share"] for point in own["points"]["auc"]["grows"]]
    np.testing.assert_allclose(shares, [0, 0.5, 0.8], atol=0.05)
    told = "one pays from 200,000 samples grows; at no size never"
    assert curves.lines(values["curves"]) == [told]
    page = conditions_page.render(
        values | {"run_id": "sizes", "revision": "none", "references": []}
    )
    assert told in page
    assert page.index("From which size") < page.index("What to use when")
    assert "no clear gap at any size" not in page
    # Few worlds may show no gap in one of the metrics.
    own["points"]["auc"] = {method: [] for method in own["points"]["auc"]}
    assert "no clear gap at any size" in curves.plots(values)["one"]


def pays(values: dict[int, dict[str, list[float]]]) -> dict[str, int | None]:
    """Size -> method -> differences by seed: from which size each method pays."""
    frames = [
        rows_of({("one", m): differences for m, differences in by_method.items()}).assign(size=size)
        for size, by_method in values.items()
    ]
    methods = list(dict.fromkeys(m for by_method in values.values() for m in by_method))
    labels = [f"one at {size:,}" for size in values]
    found = conditions.content(pd.concat(frames), labels, [m for m in methods if m != "oracle"])
    sizes: dict[str, int | None] = found["curves"]["one"]["pays"]
    return sizes


def test_a_method_pays_from_a_size_only_if_it_does_at_all_larger_ones() -> None:
    spread = np.array([-0.0002, 0.0001, 0.0, 0.0002, -0.0001])
    means = {
        "falls_back": (-0.001, 0.002, 0.003),
        "late": (0.001, 0.0, -0.002),
        "always": (-0.001, -0.002, -0.003),
        "lost": (-0.001, -0.002, None),
    }
    values = {
        size: {"oracle": list(-0.01 + spread)}
        | {m: list(by_size[i] + spread) for m, by_size in means.items() if by_size[i] is not None}
        for i, size in enumerate((1_000, 10_000, 100_000))
    }
    wanted = {"falls_back": None, "late": 100_000, "always": 1_000, "lost": None}
    assert pays(values) == wanted


def test_methods_that_do_nothing_pay_in_one_condition_of_forty() -> None:
    """With an interval for each of ten, at either size, it would be in nearly half."""
    draw = np.random.default_rng(0)
    names, sizes, count = [*(f"m{i}" for i in range(10)), "oracle"], (1_000, 100_000), 40
    worlds = [f"c{i}" for i in range(count)]
    frames = [
        rows_of({(c, m): list(draw.normal(size=5)) for c in worlds for m in names}).assign(size=n)
        for n in sizes
    ]
    rows = pd.concat(frames).assign(group=lambda frame: frame["condition"])
    rows["condition"] += " at " + rows["size"].astype(str)
    cells = {
        condition: conditions._cells(part, LEADING, names[:-1])
        for condition, part in rows.groupby("condition")
    }
    found = curves.content(rows, {"auc": cells, LEADING: cells}, names[:-1])
    wrong = [any(size is not None for size in found[c]["pays"].values()) for c in worlds]
    assert np.mean(wrong) < 0.08


def test_the_free_alternative_is_no_method_to_correct_for() -> None:
    values = {("c", "oracle"): [-0.1, -0.11, -0.1], ("c", "m"): [-0.05, -0.051, -0.03]}
    free = {("c", "uniform_recalibrated"): [0.0, 0.0, 0.0]}
    alone, both = (
        conditions.content(rows_of(own), ["c"], ["uniform_recalibrated", "m"])["metrics"][LEADING]
        for own in (values, values | free)
    )
    assert both["c"]["m"]["p"] == alone["c"]["m"]["p"]
    assert both["c"]["uniform_recalibrated"]["verdict"] == conditions.NO_DIFFERENCE


def test_how_often_judges_agree_with_the_truth_and_say_that_a_method_helps() -> None:
    rows = rows_of(
        {
            ("a", "oracle"): [-0.1, -0.1],
            ("a", "m"): [-0.05, 0.03],
            ("b", "m"): [0.0, 0.0],  # these intervals contain 0
            ("a", "uniform_recalibrated"): [-0.5, -0.5],
        }
    )
    right = rows.assign(judge="position", value=rows["value"] / 2, low=-1.0, high=1.0)
    wrong = rows.assign(judge="recorded", value=0.02, low=0.01, high=0.03)
    verdict = {"name": "outcome", "kind": "verdict"}
    told = [
        frame[frame["method"] == "m"].assign(**verdict, reason=reason)
        for frame, reason in ((right, "helps"), (wrong, "hurts"))
    ]
    found = agreement.content(pd.concat([rows, right, wrong, *told]), ["a", "b"])
    by_key = {(row["condition"], row["judge"]): row for row in found}
    assert by_key["a", "position"]["agree"] == 1
    assert by_key["a", "recorded"]["agree"] == 0.5
    assert by_key["all", "position"]["pairs"] == 2
    assert by_key["b", "position"]["agree"] is None
    # The one cannot tell by itself, the other is sure of both and wrong on one.
    assert (by_key["a", "position"]["sure"], by_key["a", "position"]["sure_agree"]) == (0, None)
    assert (by_key["a", "recorded"]["sure"], by_key["a", "recorded"]["sure_agree"]) == (2, 0.5)
    assert by_key["a", "recorded"]["helps"] == 0
    assert by_key["a", None]["helps"] == by_key["a", None]["worlds"] == 2
    lines = agreement.lines(found)
    said = "recorded agrees with truth: a 50% of 2, all 50% of 2"
    assert f"{said}; where its own interval excludes 0, 50% of 2" in lines
