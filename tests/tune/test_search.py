"""The published loop over k, and the choice among trials."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from reweight.tune.search import Trial, Tuning, best, legacy_loop


def trial(k: float, macro_precision: float = 0.5, log_loss: float = 1.0) -> Trial:
    return Trial(
        k=k, lambda_=0.01, log_loss=log_loss, macro_precision=macro_precision, ess_share=0.9
    )


def scored(score: Callable[[float], float]) -> Callable[[float], Trial]:
    return lambda k: trial(k, score(k))


def test_k_shrinks_while_the_score_is_below_the_threshold() -> None:
    trials = legacy_loop(10, Tuning(search="legacy", rounds=4), scored(lambda k: 0.7))
    assert [t.k for t in trials] == pytest.approx([10, 9, 8.1, 7.29])


def test_k_grows_while_the_score_is_at_or_above_the_threshold() -> None:
    trials = legacy_loop(1, Tuning(search="legacy", rounds=4), scored(lambda k: 0.8))
    assert [t.k for t in trials] == pytest.approx([1, 1.1, 1.21, 1.331])


def test_k_turns_where_the_score_crosses_the_threshold() -> None:
    trials = legacy_loop(
        10,
        Tuning(search="legacy", rounds=5, threshold=0.6),
        scored(lambda k: 0.5 if k > 8.5 else 0.9),
    )
    assert [t.k for t in trials] == pytest.approx([10, 9, 8.1, 8.91, 8.019])


def test_every_k_is_tried_once_and_its_trial_is_kept() -> None:
    tried: list[float] = []

    def try_k(k: float) -> Trial:
        tried.append(k)
        return trial(k, log_loss=float(len(tried)))

    trials = legacy_loop(2, Tuning(search="legacy", rounds=3), try_k)
    assert [t.k for t in trials] == tried
    assert [t.log_loss for t in trials] == [1, 2, 3]


def test_the_best_trial_has_the_lowest_log_loss_and_not_the_highest_precision() -> None:
    trials = [trial(1, 0.9, 0.5), trial(2, 0.1, 0.3), trial(3, 0.99, 0.4)]
    assert best(trials).k == 2


def test_a_trial_without_a_log_loss_is_not_the_best() -> None:
    unknown = trial(1, log_loss=float("nan"))
    assert best([unknown, trial(2, log_loss=0.5), trial(3, log_loss=0.3)]).k == 3


def test_of_equal_trials_the_first_is_taken() -> None:
    assert best([trial(1, log_loss=0.5), trial(2, log_loss=0.3), trial(3, log_loss=0.3)]).k == 2


def test_a_trial_is_one_line_with_its_numbers() -> None:
    line = str(trial(7.29, macro_precision=0.61234, log_loss=0.123456))
    assert "\n" not in line
    for part in ("7.29", "0.01", "0.12346", "0.6123", "90.0%"):
        assert part in line


@pytest.mark.parametrize("values", [{"rounds": 0}, {"search": "grid"}, {"threshold": 1.5}])
def test_a_search_that_cannot_be_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        Tuning.model_validate(values)
