"""The published loop over k, and the choice among trials."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression
from reweight.tune.search import Trial, Tuning, best, deciding, legacy_loop


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


def test_candidates_have_the_values_and_names_that_differ() -> None:
    method = ImportanceMlp(preset="reference", k=3.0)
    values = (1e-05, 1e05, 0.1, 0.10000001, 1.0)
    found = Tuning(values=values).candidates(method)
    assert [(m.k, m.lambda_) for m in found] == [(3.0, value) for value in values]
    assert len({m.name for m in found}) == len(values)
    assert found[2].name == "k3_lambda0_1"
    # Names that a method of a config may have.
    assert all(ImportanceMlp(name=m.name).name == m.name for m in found)
    assert [m.k for m in Tuning(search="k", values=(0.5, 2.0)).candidates(method)] == [0.5, 2.0]
    (only,) = Tuning(search="legacy").candidates(method)
    assert (only.k, only.lambda_) == (3.0, method.lambda_)


def test_candidates_are_recalibrated_as_the_method_would_be() -> None:
    ranker = LogisticRegression(recalibrate=("tuned", "other"))
    assert deciding(ranker, "tuned", ["a", "b"]).recalibrate == ("a", "b")
    assert deciding(ranker, "third", ["a", "b"]) == ranker


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rounds": 0}, "rounds"),
        ({"search": "grid"}, "search"),
        ({"threshold": 1.5}, "threshold"),
        ({"values": []}, "values"),
        ({"values": [float("inf")]}, "values"),
        ({"values": [0.1, -1]}, r"values: .*greater than or equal to 0 \(lambda\); got -1"),
        ({"search": "k", "values": [0]}, r"values: .*greater than 0 \(k\); got 0"),
        ({"values": [0.1, 0.10]}, r"each candidate once; got \[0\.1, 0\.1\]"),
    ],
)
def test_a_search_that_cannot_be_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Tuning.model_validate(values)
