"""What the importance of a run's rows is made of."""

import json
from collections.abc import Callable

import pandas as pd
import pytest

from reweight.config import Run
from reweight.core.errors import TableError
from reweight.core.tables import ATTRIBUTIONS, SAMPLES, WEIGHTS
from reweight.explain.stage import explain
from reweight.importance.attribution import BESIDE
from reweight.runner.records import run_stage

pytestmark = pytest.mark.timeout(600)

OpenRun = Callable[..., Run]


@pytest.fixture(scope="module")
def found(run: Run) -> pd.DataFrame:
    run_stage(run, explain)
    return run.store.read(ATTRIBUTIONS).toPandas().set_index(["method", "part"])


def test_the_means_of_the_parts_sum_to_the_mean_importance(run: Run, found: pd.DataFrame) -> None:
    weights = run.store.read(WEIGHTS).join(
        run.store.read(SAMPLES).where("split = 'train'").select("sample_id"), "sample_id"
    )
    wanted = weights.groupBy("method").avg("importance").toPandas().set_index("method")
    sums = found["mean"].groupby("method").sum()
    for method, (mean,) in wanted.iterrows():
        # All training rows are fewer than are looked at.
        assert sums[method] == pytest.approx(mean, rel=1e-4)
    assert found["rows"].nunique() == 1


def test_what_no_network_makes_comes_from_no_feature(found: pd.DataFrame) -> None:
    own = found.loc["uniform"].drop(list(BESIDE))
    assert (own[["mean", "mean_abs"]] == 0).all(axis=None)
    assert found.loc["uniform", "mean"]["(base)"] == 1
    network = found.loc["importance_mlp_robust"].drop(list(BESIDE))
    assert network["mean_abs"].max() > 0.01


def test_the_page_shows_it_and_one_sample_alone(
    run: Run, open_run: OpenRun, logged: Callable[[], str]
) -> None:
    row = run.store.read(WEIGHTS).where("method = 'importance_mlp_robust'").first()
    assert row is not None
    one = open_run("first", f"explaining.sample_id={row['sample_id']}")
    run_stage(one, explain)
    values = json.loads((run.folder.content("explain")).read_text())
    assert values["sample"]["sample_id"] == str(row["sample_id"])
    parts = values["sample"]["methods"]["importance_mlp_robust"]
    assert sum(p["mean"] for p in parts) == pytest.approx(row["importance"], abs=1e-4)
    page = (run.folder.page("explain")).read_text()
    assert str(row["sample_id"]) in page
    assert page.count("<svg") >= 2
    assert f"sample {row['sample_id']}" in logged()


def test_a_sample_that_is_not_there_is_named(open_run: OpenRun, found: pd.DataFrame) -> None:
    with pytest.raises(TableError, match="sample to explain does not exist"):
        run_stage(open_run("first", "explaining.sample_id=12"), explain)
