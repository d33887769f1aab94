"""What methods say of the counts of the training rows before anything is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

from reweight.core.errors import TrainingError, WeightError
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.preconditions import _check_method
from reweight.importance.base import ImportanceMethod
from reweight.importance.methods.class_balanced import ClassBalanced
from reweight.importance.methods.mature_only import MatureOnly
from reweight.importance.methods.rake import Rake
from reweight.importance.methods.reweighing import Reweighing
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.target import check_target
from reweight.importance.training import RowCounts, TrainFacts
from reweight.score_weights.policy import Weighting
from reweight.training.plan import Fitting


def check(
    method: ImportanceMethod,
    positives: int,
    rows: int = 10_000,
    counts: RowCounts | None = None,
    **weighting: Any,
) -> None:
    spark: Any = None
    policy = Weighting(**weighting)
    job = FitJob(spark, 0, Fitting(), ("x",), (), Path(), policy)
    segments = ("a", "b") if counts is not None and counts.segments is not None else ()
    facts = TrainFacts(
        dim=1, rows=rows, positives=positives, quantiles=((0.0, 1, 2, 3),), segments=segments
    )
    _check_method(job, facts, counts or RowCounts(rows, positives), method)


def test_weights_that_follow_from_the_label_rate_are_refused_before_the_training() -> None:
    with pytest.raises(WeightError) as caught:
        check(ClassBalanced(), 200)
    # 4 p (1 - p) at p = 2 %.
    assert caught.value.got == "7.8%"
    assert "weighting.ess_refuse" in caught.value.expected
    check(ClassBalanced(), 300)
    # The policy decides, not the label rate alone.
    check(ClassBalanced(), 200, temper=0.5)
    check(ClassBalanced(), 200, mix=0.5)
    check(ClassBalanced(), 200, ess_refuse=0.05)


def test_weights_that_follow_from_open_windows_are_refused_too() -> None:
    check(MatureOnly(), 500, counts=RowCounts(1_500, 90))
    with pytest.raises(WeightError, match="'mature_only'") as caught:
        check(MatureOnly(), 500, counts=RowCounts(900, 90))
    assert caught.value.got == "9.0%"


def test_tables_of_segments_are_known_before_the_training() -> None:
    # Segments a and b of 5,000 rows each, b with a tenth of the positives.
    even = torch.tensor([[0, 0], [4_500, 500], [4_950, 50]])
    check(Reweighing(), 550, counts=RowCounts(10_000, 550, segments=even))
    with pytest.raises(WeightError, match="'rake'"):
        check(Rake(positives=0.95), 550, counts=RowCounts(10_000, 550, segments=even))
    missing = torch.tensor([[0, 0], [4_500, 500], [5_000, 0]])
    zero = torch.tensor([[0, 0], [0, 500], [9_500, 0]])
    check(Rake(positives=0.1), 500, counts=RowCounts(10_000, 500, segments=missing))
    with pytest.raises(TrainingError, match="no weights with the desired margins"):
        check(Rake(positives=0.1), 500, counts=RowCounts(10_000, 500, segments=zero))


def test_a_class_so_rare_that_some_member_would_see_none_is_refused_before_the_ranks() -> None:
    check(SelfConfidence(), 100)
    with pytest.raises(TrainingError, match="only one class") as caught:
        check(SelfConfidence(), 4)
    assert "4 of 10000 training rows" in caught.value.got
    large = SelfConfidence.model_validate({"training": {"members": 10**8}})
    with pytest.raises(TrainingError, match="too large"):
        check(large, 5_000)


@pytest.mark.parametrize(
    ("targets", "times", "got", "fix"),
    [
        (6594, 1, "all rows have the same time", "target_where"),
        (6594, 2, "6594 target rows of 6594", "splits.target to a share"),
        (0, 1, "0 target rows of 6594", "splits.target_where"),
    ],
)
def test_target_rows_that_tell_nothing_are_explained_by_their_cause(
    targets: int, times: int, got: str, fix: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        check_target("density_ratio", targets, 6594, times=times)
    assert got in caught.value.got
    assert fix in caught.value.fix
    assert ("same time" in caught.value.got) == (targets > 0 and times == 1)
