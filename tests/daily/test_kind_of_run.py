"""A run of days and a run over the whole log do not overwrite each other."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reweight.config import Run, load_config
from reweight.core.errors import RunError
from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.daily.kind_of_run import check_not_of_days, check_not_whole
from reweight.runner.job import run_stages
from reweight.runner.pipeline import PIPELINE, score_weights

DEMO = str(Path(__file__).parents[1] / "shop.yaml")


def test_days_are_no_days_of_a_run_of_the_pipeline(tmp_path: Path) -> None:
    folder = RunFolder.of(tmp_path, "shop")
    check_not_whole(folder)
    write_json(folder.record("build_samples"), {"status": "failed"})
    with pytest.raises(RunError, match="made by the pipeline") as caught:
        check_not_whole(folder)
    assert "run_id=shop_daily" in caught.value.fix


@pytest.mark.parametrize("stages", [PIPELINE, (score_weights,)], ids=["pipeline", "one stage"])
def test_a_stage_that_replaces_all_days_is_refused_before_any_begins(
    tmp_path: Path, stages: Any
) -> None:
    store: Any = SimpleNamespace(keeping_small_slices=nullcontext)
    spark: Any = None
    run = Run(spark, load_config(DEMO, [f"root={tmp_path}"]), store)
    write_json(run.folder.day("2026-01-21"), {})
    with pytest.raises(RunError, match="'demo' has been made day by day") as caught:
        run_stages(run, stages)
    assert "run_id=demo_whole" in caught.value.fix
    assert not run.folder.records.exists()
    check_not_of_days(run.folder, ["train_ranker", "evaluate", "report"])
