"""What the judges say, and which weights are shipped, from rows of metrics."""

from typing import Any

import pytest

from reweight.evaluate.judges import all_judges
from reweight.evaluate.judges.position import Position
from reweight.evaluate.judges.settled import Settled
from reweight.evaluate.judges.trusted import Trusted
from reweight.evaluate.judges.truth import Truth
from reweight.evaluate.section import Evaluation
from reweight.evaluate.verdict import WHOLE, decision, disagreements, leading, verdicts

JUDGES = all_judges({"truth": Truth(), "position": Position(propensity="1 / position")})
# method -> (difference of the ranking loss, p, difference of the level, p)
Moves = dict[str, tuple[float, float, float, float]]
BETTER, WORSE, SAME = (-0.02, 1e-5, 0.0, 1.0), (0.02, 1e-5, 0.0, 1.0), (-0.001, 0.4, 0.0, 1.0)


def rows_of(
    test: Moves,
    judge: str = "truth",
    positives: float = 500,
    validation: Moves | None = None,
    buckets: float = 150,
) -> list[dict[str, Any]]:
    rows = []
    for split, moves in (("test", test), ("validation", validation or test)):
        base = {"judge": judge, "split": split, "segment": None}
        counts = dict.fromkeys(("rows", "positives", "effective_positives"), positives)
        for name, value in (counts | {"effective_buckets": buckets}).items():
            rows.append(base | {"method": "uniform", "name": name, "kind": "value", "value": value})
        for method, (ranking, p, level, p_level) in moves.items():
            for name, less, own in (
                ("ranking_log_loss", ranking, p),
                ("level_log_loss", level, p_level),
                ("log_loss", ranking + level, min(p, p_level)),
                ("auc", -ranking, p),
            ):
                numbers = {"value": less, "low": less - 0.01, "high": less + 0.01, "p": own}
                row = base | {"method": method, "name": name}
                rows.append(row | {"kind": "difference"} | numbers)
                rows.append(row | {"kind": "value"} | numbers | {"value": 0.5 + less})
    return rows


def said_of(rows: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    return verdicts(rows, JUDGES, Evaluation(), **settings)


def outcomes(said: dict[str, Any], judge: str = "truth", split: str = "test") -> dict[str, str]:
    return {m: o["outcome"] for m, o in said[judge][split].items()}


def test_a_method_helps_if_it_ranks_better_and_the_level_is_told_apart() -> None:
    level = (0.0, 0.9, 0.05, 1e-6)
    said = said_of(rows_of({"a": BETTER, "b": WORSE, "c": SAME, "d": level}))
    assert outcomes(said) == {
        "a": "helps",
        "b": "hurts",
        "c": "no significant difference",
        "d": "hurts the level",
    }
    assert "hurt the level alone, which recalibration repairs: d" in said["truth"]["text"]


def test_a_lower_level_alone_is_no_help() -> None:
    # The judge's rows have another base rate, which some weights happen to meet.
    said = said_of(rows_of({"a": (0.0, 1.0, -0.3, 1e-9)}))
    assert outcomes(said) == {"a": "no significant difference"}
    assert "no method helps" in said["truth"]["text"]


def test_where_no_label_can_repair_the_level_in_time_the_whole_loss_decides() -> None:
    rows = rows_of({"a": (0.001, 0.4, -0.05, 1e-6), "b": (-0.02, 1e-5, 0.05, 1e-6)})
    assert outcomes(said_of(rows)) == {"a": "no significant difference", "b": "helps"}
    said = said_of(rows, decides=WHOLE)
    assert outcomes(said) == {"a": "helps", "b": "hurts"}
    assert "The level counts" in said["truth"]["text"]
    shipped = decision(rows, said)
    assert (shipped["weights"], shipped["confirmed"]) == ("a", True)
    assert shipped["test"]["log_loss"]["value"] == pytest.approx(-0.049)


def test_a_difference_that_random_weights_also_make_is_not_called() -> None:
    rows = rows_of({"random": (-0.01, 1e-9, 0, 1), "a": (-0.009, 1e-9, 0, 1), "b": BETTER})
    said = said_of(rows)
    assert outcomes(said) == {"random": "control", "a": "no significant difference", "b": "helps"}
    assert "change the ranking loss by -0.0100: no smaller" in said["truth"]["text"]
    assert decision(rows, said)["weights"] == "b"
    # Also where the control's own difference could be one of test rows.
    rows = rows_of({"random": (-0.01, 0.4, 0, 1), "a": (-0.009, 1e-9, 0, 1)})
    assert outcomes(said_of(rows))["a"] == "no significant difference"


def test_outcomes_are_corrected_for_the_number_of_methods_and_judges() -> None:
    moves = {f"m{i}": (-0.01, 0.02, 0.0, 1.0) for i in range(3)}
    assert set(outcomes(said_of(rows_of(moves))).values()) == {"no significant difference"}
    assert outcomes(said_of(rows_of({"m0": (-0.01, 0.02, 0, 1)}))) == {"m0": "helps"}
    both = rows_of({"m0": (-0.01, 0.03, 0, 1)}) + rows_of({"m0": SAME}, "recorded")
    assert outcomes(said_of(both)) == {"m0": "no significant difference"}


def test_outcomes_are_corrected_for_the_number_of_rankers() -> None:
    own = rows_of({"m0": (-0.01, 0.03, 0, 1)})
    assert outcomes(said_of(own)) == {"m0": "helps"}
    alone = verdicts(own, JUDGES, Evaluation(), others=rows_of({"uniform_recalibrated": SAME}))
    assert outcomes(alone) == {"m0": "helps"}
    beside = verdicts(own, JUDGES, Evaluation(), others=rows_of({"m0": SAME}))
    assert outcomes(beside) == {"m0": "no significant difference"}
    # What another judge says of the others is no test of this one.
    elsewhere = verdicts(own, JUDGES, Evaluation(), others=rows_of({"m0": SAME}, "recorded"))
    assert outcomes(elsewhere) == {"m0": "helps"}


def test_the_first_judge_with_enough_positives_leads() -> None:
    rows = rows_of({"a": BETTER}, "truth", 20) + rows_of({"a": WORSE}, "recorded")
    said = said_of(rows)
    assert leading(said) == "recorded"
    assert not said["truth"]["able"]
    assert "20 effective positives in validation" in said["truth"]["reason"]
    assert "cannot tell" in said["truth"]["text"]


def test_a_judge_whose_rows_are_in_effect_those_of_two_groups_cannot_tell() -> None:
    rows = rows_of({"a": BETTER}, buckets=1.8)
    said = said_of(rows)
    assert said["truth"]["test"] == {}
    assert "no more than 1.8 groups of equal size" in said["truth"]["text"]
    assert decision(rows, said)["weights"] == "uniform"
    assert said_of(rows_of({"a": BETTER}, buckets=2.1))["truth"]["able"]
    assert leading(said_of(rows_of({"a": BETTER}, "truth", 20))) is None


def test_the_choice_is_made_on_validation_and_only_confirmed_on_test() -> None:
    best_on_test = {"a": (-0.03, 1e-9, 0.0, 1.0), "b": (-0.01, 1e-5, 0.0, 1.0)}
    on_validation = {"a": (-0.01, 1e-5, 0.0, 1.0), "b": (-0.02, 1e-9, 0.0, 1.0)}
    rows = rows_of(best_on_test, validation=on_validation)
    found = decision(rows, said_of(rows))
    assert (found["weights"], found["judge"], found["confirmed"]) == ("b", "truth", True)
    assert found["test"]["ranking_log_loss"]["value"] == -0.01
    # Weights that only test rows favour are not chosen.
    rows = rows_of(best_on_test, validation={"a": SAME, "b": WORSE})
    assert decision(rows, said_of(rows))["weights"] == "uniform"


LEVEL_ALONE = (0.0005, 0.9, 0.05, 1e-9)


@pytest.mark.parametrize(
    ("test", "confirmed"), [(BETTER, True), (SAME, False), (WORSE, False), (LEVEL_ALONE, False)]
)
def test_a_choice_that_test_rows_do_not_confirm_is_said(test: Any, confirmed: bool) -> None:
    rows = rows_of({"a": test}, validation={"a": BETTER})
    found = decision(rows, said_of(rows))
    assert found["confirmed"] is confirmed
    assert found["text"].startswith("Ship the weights" if confirmed else "Do not ship")


def test_where_the_whole_loss_decides_no_recalibration_is_promised() -> None:
    rows = rows_of({"a": (-0.02, 1e-6, 0.03, 1e-6)}, validation={"a": BETTER})
    for row in rows:
        if (row["split"], row["name"], row["kind"]) == ("test", "log_loss", "difference"):
            row["p"] = 0.3
    said = said_of(rows, decides=WHOLE)
    assert outcomes(said) == {"a": "hurts the level"}
    assert "recalibration repairs" not in said["truth"]["text"]
    assert (
        "hurt the level, with no significant difference of the log loss: a"
        in (said["truth"]["text"])
    )
    shipped = decision(rows, said)["text"]
    assert shipped == (
        "Do not ship the weights yet of a: chosen on validation rows by truth, but on test rows: "
        "hurts the level."
    )


def test_weights_without_information_are_never_chosen() -> None:
    rows = rows_of({"random": BETTER})
    said = said_of(rows)
    assert decision(rows, said)["weights"] == "uniform"
    assert "no smaller difference is significant" in said["truth"]["text"]


def test_without_a_judge_that_can_tell_uniform_is_shipped() -> None:
    rows = rows_of({"a": BETTER}, "recorded", 3)
    found = decision(rows, said_of(rows))
    assert (found["weights"], found["judge"]) == ("uniform", None)


def test_a_judge_that_disagrees_is_named_with_the_fault_that_it_shares() -> None:
    rows = rows_of({"a": BETTER}) + rows_of({"a": WORSE}, "recorded")
    said = said_of(rows)
    (unknown,) = disagreements(said, JUDGES, None)
    assert unknown.startswith("recorded disagrees with truth on a: ")
    assert "jobs/diagnose.py" in unknown
    (seen,) = disagreements(said, JUDGES, ["position bias"])
    assert "share the position bias that diagnose finds" in seen
    (unseen,) = disagreements(said, JUDGES, [])
    assert "of which diagnose finds none" in unseen
    agreed = rows_of({"a": BETTER}) + rows_of({"a": BETTER}, "recorded")
    assert disagreements(said_of(agreed), JUDGES, None) == []


def test_a_judge_disagrees_only_if_the_signs_do() -> None:
    # The same estimate with fewer rows, of either judge.
    unsure = (-0.02, 0.3, 0.0, 1.0)
    for own, other, sentence in (
        (unsure, BETTER, "truth cannot confirm what recorded says of a: "),
        (BETTER, unsure, "recorded cannot confirm what truth says of a: "),
    ):
        rows = rows_of({"a": own}) + rows_of({"a": other}, "recorded")
        (said,) = disagreements(said_of(rows), JUDGES, ["position bias"])
        assert said.startswith(sentence)
    # Neither is sure.
    rows = rows_of({"a": unsure}) + rows_of({"a": SAME}, "recorded")
    assert disagreements(said_of(rows), JUDGES, None) == []
    # The other one is sure of the opposite, though of no help.
    rows = rows_of({"a": SAME}) + rows_of({"a": WORSE}, "recorded")
    (said,) = disagreements(said_of(rows), JUDGES, None)
    assert said.startswith("recorded disagrees with truth on a: ")


def test_a_disagreement_names_the_faults_of_either_judge() -> None:
    judges = all_judges({"settled": Settled(), "trusted": Trusted(label="rating >= 5")})
    rows = rows_of({"a": BETTER}, "settled") + rows_of({"a": WORSE}, "trusted")
    said = verdicts(rows, judges, Evaluation())
    (sentence,) = disagreements(said, judges, ["position bias"])
    assert "the labels of settled share the position bias that diagnose finds" in sentence
    judges = all_judges({"position": Position(propensity="1 / position"), "settled": Settled()})
    rows = rows_of({"a": BETTER}, "position") + rows_of({"a": WORSE}, "settled")
    said = verdicts(rows, judges, Evaluation())
    (sentence,) = disagreements(said, judges, ["delayed labels"])
    assert "the labels of settled would share position bias, of which" in sentence
    assert "the labels of position share the delayed labels that diagnose finds" in sentence
