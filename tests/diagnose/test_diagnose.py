"""The diagnosis of whole simulated logs: what was planted is visible, and nothing else."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from reweight.build_samples.history import History
from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import Run, load_config
from reweight.core.tables import EVENTS
from reweight.diagnose.stage import diagnose
from reweight.runner.records import run_stage
from reweight.simulate_logs.stage import simulate_logs

# The setup of a test is a whole run.
pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("large_data")]

Findings = dict[str, dict[str, Any]]

# How many logs without any mechanism are looked at.
LOGS = int(os.environ.get("REWEIGHT_CLEAN_LOGS", "1"))

# Many buyers, so that a small log says enough; the training split spans the whole time.
COMMON = (
    "simulation.zipf=0.3",
    "simulation.purchase=4.0",
    "splits.by=group",
    "features.dim=40",
)
CLEAN = (
    "simulation.sessions=2500",
    "simulation.eta=0",
    "simulation.drift=0",
    "simulation.bots=0",
    "simulation.rare=0",
    "simulation.late=0",
    "simulation.hours=1",
    "simulation.unrecorded=0",
)
# How the log was made: what is far down is hardly seen, buyers take days, bots click.
MADE = (
    *CLEAN,
    "simulation.eta=1",
    "simulation.late=0.5",
    "simulation.hours=4",
    "simulation.bots=0.05",
    "simulation.bot_clicks=0.8",
)
# Who buys and when: tastes turn, and a group has those of nobody else.
LIKED = (*CLEAN, "simulation.drift=2.5", "simulation.rare=0.06")


def opened(spark: SparkSession, root: Path, run_id: str, *overrides: str) -> Run:
    demo = Path(__file__).parents[1] / "shop.yaml"
    config = load_config(str(demo), (f"run_id={run_id}", f"root={root}", *COMMON, *overrides))
    counts = {"shown": "event_type = 'impression'", "clicked": "event_type = 'click'"}
    item = History(keys=("item_id",), counts=counts, rates={"click_rate": ("clicked", "shown")})
    # Of the demo's four histories one is enough here.
    features = config.features.model_copy(update={"history": {"item": item}})
    return Run.open(spark, config.model_copy(update={"features": features}))


def diagnosed(
    spark: SparkSession, root: Path, run_id: str, *overrides: str
) -> tuple[Run, Findings]:
    run = opened(spark, root, run_id, *overrides)
    for stage in (simulate_logs, clean_logs, build_samples, diagnose):
        run_stage(run, stage)
    found = json.loads((run.folder.content("diagnose")).read_text())["findings"]
    return run, {one["mechanism"]: one for one in found}


@pytest.fixture(scope="module", params=range(LOGS))
def clean(
    spark: SparkSession,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    large_data: None,
) -> Findings:
    root, seed = tmp_path_factory.mktemp("clean"), request.param
    return diagnosed(spark, root, "clean", f"seed={seed}", *CLEAN)[1]


@pytest.fixture(scope="module")
def made(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, large_data: None
) -> tuple[Run, Findings]:
    return diagnosed(spark, tmp_path_factory.mktemp("made"), "made", *MADE)


@pytest.fixture(scope="module")
def liked(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, large_data: None
) -> Findings:
    return diagnosed(spark, tmp_path_factory.mktemp("liked"), "liked", *LIKED)[1]


def visible(findings: Findings) -> set[str]:
    return {name for name, one in findings.items() if one["verdict"] == "visible"}


def test_nothing_is_visible_in_a_log_without_any_mechanism(clean: Findings) -> None:
    assert visible(clean) == set()
    # All but those that no log shows, and the groups, of which there is one, were tested.
    unseen = {name for name, one in clean.items() if one["verdict"] == "cannot be seen"}
    assert unseen == {"missing labels", "rare segments"}


def test_how_the_log_was_made_is_visible_and_nothing_else(made: tuple[Run, Findings]) -> None:
    assert visible(made[1]) == {"position bias", "delayed labels", "bursts and bots"}


def test_the_strength_of_the_position_bias_is_the_planted_one(made: tuple[Run, Findings]) -> None:
    measures = made[1]["position bias"]["measures"]
    exponent = next(m for m in measures if m["name"].startswith("e, "))
    assert exponent["value"] == pytest.approx(1.0, abs=0.2)


def test_events_of_bots_are_those_that_are_found(made: tuple[Run, Findings]) -> None:
    run, findings = made
    events = run.store.read(EVENTS)
    robots = events.where("user_id - 9007199254740993 >= 3000").count() / events.count()
    assert findings["bursts and bots"]["measures"][0]["value"] == pytest.approx(robots, abs=0.01)


def test_missing_purchases_are_said_to_be_out_of_sight(made: tuple[Run, Findings]) -> None:
    one = made[1]["missing labels"]
    assert one["verdict"] == "cannot be seen"
    assert "payments" in one["needs"]


def test_the_page_names_every_mechanism_and_no_user(made: tuple[Run, Findings]) -> None:
    run, findings = made
    text = (run.folder.page("diagnose")).read_text()
    for name in findings:
        assert name.capitalize() in text
    # Ids of users begin so in the simulation.
    assert "90071992" not in text
    assert text.count("<svg") == 5
    assert "src=" not in text


def test_other_tastes_of_late_rows_and_of_a_group_are_visible_and_nothing_else(
    liked: Findings,
) -> None:
    assert visible(liked) == {"rare segments", "drift of the relation"}
    for name in visible(liked):
        assert liked[name]["suggests"]
        assert liked[name]["warns"]


def test_counts_that_grow_are_no_drift_of_the_features(liked: Findings) -> None:
    steady, everything = (m["value"] for m in liked["drift of the features"]["measures"])
    # With history the classifier knows the time.
    assert everything > 0.8
    assert steady < 0.55
