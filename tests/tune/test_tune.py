"""The search over lambda and the published loop over k."""

import json
from collections.abc import Callable

import pytest

from reweight.config import Run
from reweight.core.errors import ConfigError
from reweight.runner.records import run_stage
from reweight.tune.stage import tune

pytestmark = pytest.mark.usefixtures("ranks_here")

OpenRun = Callable[..., Run]


def test_a_search_trains_every_candidate_and_takes_the_lowest_validation_loss(
    run: Run, open_run: OpenRun
) -> None:
    judged = ("evaluation.judges={truth: {}}", "evaluation.judge_positives=1")
    searching = open_run("first", "tuning.values=[0.001,1.0]", *judged)
    summary = run_stage(searching, tune)
    found = json.loads((run.folder.tuning).read_text())
    # The first judge of the run, and not the recorded labels.
    assert found["judge"] == "truth"
    assert [trial["lambda_"] for trial in found["trials"]] == [0.001, 1.0]
    low, high = found["trials"]
    # A stronger pull towards weight 1 leaves more effective samples.
    assert low["ess_share"] < high["ess_share"]
    best = min(found["trials"], key=lambda trial: trial["log_loss"])
    assert summary["best"] == {"k": best["k"], "lambda": best["lambda_"]}
    # A constant factor in the weights is no hyperparameter of the ranker.
    assert found["coefficients moved by 10 k at fixed f"] < 1e-6


def test_only_a_network_of_the_run_can_be_tuned(run: Run, open_run: OpenRun) -> None:
    with pytest.raises(ConfigError, match=r"tuning\.method 'uniform' cannot be tuned"):
        tune(open_run("first", "tuning.method=uniform"))
