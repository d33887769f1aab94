"""Verdicts: what p-values make visible, and advice that names methods that there are."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from reweight.diagnose.findings import ADVICE, ALL_NEGATIVES, Finding, Measure, content, lines
from reweight.importance.base import ImportanceMethod
from reweight.importance.methods import Method


def verdicts(*findings: Finding) -> list[str]:
    return [one["verdict"] for one in content(findings)]


def test_more_tests_ask_for_smaller_p_values() -> None:
    one = Finding("position bias", "", 0.03)
    assert verdicts(one) == ["visible"]
    assert verdicts(one, Finding("rare segments", "", 0.5)) == ["not visible", "not visible"]
    # What cannot be tested is no test.
    assert verdicts(one, Finding("rare segments", "", None)) == ["visible", "cannot be seen"]


def test_only_what_is_visible_has_advice() -> None:
    found = content(
        [
            Finding("position bias", "", 0.0),
            Finding("delayed labels", "", 1.0),
            Finding("missing labels", "", None, needs="an independent record"),
        ]
    )
    assert found[0]["suggests"] == list(ADVICE["position bias"].suggests)
    for other in found[1:]:
        assert (other["suggests"], other["warns"], other["advice"]) == ([], [], "")
    assert found[2]["needs"] == "an independent record"


def test_where_negatives_were_sampled_no_method_that_is_refused_is_advised() -> None:
    findings = [Finding("position bias", "", 0.0), Finding("delayed labels", "", 0.0)]
    position, delay = content(findings, sampled=True)
    assert position["suggests"] == delay["suggests"] == []
    assert "ipw_position and doubly_robust would be refused" in position["advice"]
    assert "estimator: ips" in position["advice"]
    assert "mature_only does without." in delay["advice"]
    advised = {name for advice in ADVICE.values() for name in advice.suggests}
    methods: TypeAdapter[ImportanceMethod] = TypeAdapter(Method)
    more: dict[str, dict[str, Any]] = {"pu_prior": {"prior": 0.5}}
    kinds = [
        methods.validate_python({"method": name, "name": name} | more.get(name, {}))
        for name in advised
    ]
    assert {kind.name for kind in kinds if kind.needs_all_negatives} == set(ALL_NEGATIVES)


@pytest.mark.parametrize("mechanism", ADVICE)
def test_advice_names_methods_of_the_union(mechanism: str) -> None:
    kinds = set(TypeAdapter(Method).json_schema()["discriminator"]["mapping"])
    advice = ADVICE[mechanism]
    assert {*advice.suggests, *advice.warns} <= kinds
    assert not set(advice.suggests) & set(advice.warns)


def test_a_line_tells_the_strength_and_json_holds_it_all() -> None:
    found = content([Finding("position bias", "why", 0.0, (Measure("ratio", 0.25, 0.2, 0.3),))])
    (line,) = lines(found)
    assert line.split() == ["position", "bias", "visible", "ratio", "0.250", "[0.200,", "0.300]"]
    assert json.loads(json.dumps(found)) == found
