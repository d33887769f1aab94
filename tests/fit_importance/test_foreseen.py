"""What the config shows of the methods before any row is read."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from reweight.config import RunConfig, read_config
from reweight.core.errors import ConfigError, ReweightError, TrainingError
from reweight.core.left_out import Refusals
from reweight.fit_importance.foreseen import Sections, features_of_position
from reweight.fit_importance.stage import check_config

LOG: dict[str, Any] = {
    "run_id": "early",
    "root": "/nowhere",
    "cleaning": {
        "sources": {"log": {"path": "/raw", "format": "csv"}},
        "columns": {"event_time": "now()", "place": "position", "price": "price"},
    },
    "sampling": {"label": {"value": "bought"}, "segment": "country"},
    "features": {"numeric": {"price": "price"}},
    "importance": [{"method": "random"}],
}


def config_of(*overrides: str, log: Mapping[str, Any] = LOG) -> RunConfig:
    return read_config(RunConfig, log, overrides)


def following(*overrides: str) -> list[str]:
    config = config_of(*overrides)
    sections = Sections(config.cleaning, config.sampling, config.splits, config.features)
    return [name.partition(":")[0] for name in features_of_position(sections)]


@pytest.mark.parametrize(
    ("kept", "expression", "follows"),
    [
        ("place", "log(place)", True),
        ("place", "CASE WHEN PLACE > 3 THEN 'low' ELSE 'place' END", True),
        ("cast(place as int) + 1", "1 / `place`", True),
        ("place", "place * price", False),
        ("place", "length('place')", False),
        ("place", "price", False),
        # Other columns of the log, and what is no longer the position itself.
        ("coalesce(place, shelf)", "place", False),
        ("int(substr(place, 3))", "substr(place, 1, 2)", False),
    ],
)
def test_functions_of_the_kept_position_are_found(
    kept: str, expression: str, follows: bool
) -> None:
    keep = f'sampling.keep.position="{kept}"'
    found = following(keep, f'features.numeric.rank="{expression}"')
    assert found == (["features.numeric.rank"] if follows else [])


def test_another_column_of_the_same_raw_one_is_found_in_every_kind_of_feature() -> None:
    found = following(
        "sampling.keep.position=place",
        "cleaning.columns.place='cast(slot as int)'",
        "cleaning.columns.height='1 / slot'",
        "features.numeric={height: height}",
        "features.one_hot={tall: {value: cast(height as string)}}",
        "features.categorical={slot: {value: place}}",
    )
    assert [name.split(".")[1] for name in found] == ["numeric", "one_hot", "categorical"]


def test_columns_that_a_source_has_of_its_own_are_followed_too() -> None:
    sources = "cleaning.sources={log: {path: /raw, format: csv, columns: {height: HEIGHT}}}"
    for height, found in (("'1 / position'", ["features.numeric.height"]), ("price", [])):
        assert found == following(
            sources.replace("HEIGHT", height),
            "sampling.keep.position=place",
            "features.numeric.height=height",
        )


def refused(*overrides: str, log: Mapping[str, Any] = LOG) -> dict[str, ReweightError]:
    refusals = Refusals(strict=False)
    check_config(config_of(*overrides, log=log), refusals)
    return refusals.errors


@pytest.mark.parametrize(
    ("method", "overrides", "text"),
    [
        ("ipw_position", [], "sampling.keep.position"),
        ("value_weighted", [], "sampling.keep.value"),
        ("reweighing", ["sampling.segment=cast(null as string)"], "sampling.segment"),
        ("density_ratio", ["splits.target=1"], "target rows"),
        ("mature_only", [], "not settled"),
        ("delayed_feedback", ["splits.unlabelled=train"], "label events"),
    ],
)
def test_a_method_that_lacks_a_key_of_the_config_is_refused_at_once(
    method: str, overrides: Sequence[str], text: str
) -> None:
    errors = refused(f"importance=[{{method: random}}, {{method: {method}}}]", *overrides)
    assert list(errors) == [method]
    error = errors[method]
    assert text in error.expected
    assert "leave the method out" in error.fix
    with pytest.raises(ConfigError):
        check_config(config_of(f"importance=[{{method: {method}}}]", *overrides))


POSTERIOR = "{method: delayed_feedback, training: {delays: weibull}, form: posterior}"
OF_WHOLE_LOG = (
    ("{method: ipw_position}", "{method: ipw_position, estimator: ips"),
    ("{method: ipw_position, training: {propensity: column}}", "estimator: ips"),
    ("{method: ipw_position, estimator: ips}", "training: {propensity: column}}"),
    ("{method: doubly_robust}", "{method: ipw_position, estimator: ips"),
    ("{method: delayed_feedback}", "{method: mature_only}"),
    (POSTERIOR, "{method: mature_only}"),
    ("{method: self_training}", "{method: mature_only}"),
)


@pytest.mark.parametrize("negatives", ["0.1", "'if(label = 1, 1, price)'"])
@pytest.mark.parametrize(("method", "fix"), OF_WHOLE_LOG)
def test_what_learns_how_often_rows_are_positive_needs_all_negatives(
    method: str, fix: str, negatives: str
) -> None:
    window = "null" if "weibull" in method else "3 days"
    given = (
        f"importance=[{{method: random}}, {method}]",
        "sampling.keep={position: place, propensity: 1 / place}",
        f"sampling.label={{value: null, where: bought, keys: [place], window: {window}}}",
        "splits={by: time, open_windows: train}",
    )
    for all_kept in ("null", "1"):
        assert refused(*given, f"sampling.negatives={all_kept}") == {}
    (error,) = refused(*given, f"sampling.negatives={negatives}").values()
    assert "all negatives" in error.expected
    assert error.got == f"sampling.negatives: {negatives.strip(chr(39))}"
    assert fix in error.fix


def test_the_ways_out_for_sampled_negatives_are_accepted() -> None:
    known = "{method: ipw_position, estimator: ips, training: {propensity: column}}"
    label = "sampling.label={value: null, where: bought, keys: [place], window: 3 days}"
    opened, keep = "splits={by: time, open_windows: train}", "sampling.keep.propensity=1 / place"
    methods = f"importance=[{known}, {{method: mature_only}}]"
    assert refused(methods, label, opened, keep, "sampling.negatives=0.1") == {}


WEIBULL = "{method: delayed_feedback, training: {delays: weibull}}"


@pytest.mark.parametrize(
    ("method", "window", "expected", "fix"),
    [
        ("{method: delayed_feedback}", "null", "label window closes", "{delays: weibull}"),
        ("{method: mature_only}", "null", "label window closes", "delayed_feedback"),
        ("{method: self_training}", "null", "label window closes", "{delays: weibull}"),
        (WEIBULL, "3 days", "until the log ends", "{delays: settled}"),
        (WEIBULL, "null", None, None),
        ("{method: delayed_feedback}", "3 days", None, None),
    ],
)
def test_methods_for_late_labels_say_what_they_need_of_the_window(
    method: str, window: str, expected: str | None, fix: str | None
) -> None:
    label = f"sampling.label={{value: null, where: bought, keys: [place], window: {window}}}"
    listed = f"importance=[{{method: random}}, {method}]"
    opened = "splits={by: time, open_windows: train}"
    errors = refused(listed, label, opened)
    assert bool(errors) == (expected is not None)
    for error in errors.values():
        assert expected in error.expected
        assert fix in error.fix
    # Nothing is open without a cut that leaves it so.
    (error,) = refused(listed, label).values()
    assert "open_windows: train" in error.fix


@pytest.mark.parametrize(
    ("method", "fix"),
    [
        ("density_ratio", "set splits.target_where to a condition"),
        ("delayed_feedback", "use self_training or mature_only"),
        ("mature_only", "set splits to {unlabelled: train}"),
    ],
)
def test_methods_that_need_times_are_refused_for_a_log_without_times(method: str, fix: str) -> None:
    sources = LOG["cleaning"]["sources"]
    cleaning = {"sources": sources, "times": False, "columns": {"price": "price"}}
    untimed = LOG | {"cleaning": cleaning}
    listed = f"importance=[{{method: random}}, {{method: {method}}}]"
    errors = refused(listed, log=untimed)
    assert fix in errors[method].fix
    assert "by: time" not in errors[method].fix
    named = "splits={unlabelled: train, target_where: country = 'de'}"
    errors = refused(listed, named, log=untimed)
    assert set(errors) == {"delayed_feedback"} & {method}


def test_a_config_that_gives_what_methods_need_is_accepted() -> None:
    given = "importance=[{method: ipw_position}, {method: reweighing}, {method: density_ratio}]"
    assert refused(given, "sampling.keep.position=place") == {}
    named = "splits={target: 1, target_where: country = 'de'}"
    assert refused("importance=[{method: density_ratio}]", named) == {}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ([], "{sequence: {keys: [COLUMN], length: 20, fields: {NAME: {value: COLUMN, buckets: "),
        (
            ["sampling.group=country", "features.categorical={thing: {value: price, buckets: 9}}"],
            "{sequence: {keys: [country], length: 20, fields: {thing: {value: price, buckets: 9}}}",
        ),
    ],
)
def test_a_network_that_reads_sequences_is_refused_without_them(
    overrides: Sequence[str], line: str
) -> None:
    methods = "importance=[{method: random}, {method: self_confidence, training: {network: gru}}]"
    errors = refused(methods, *overrides)
    assert list(errors) == ["self_confidence"]
    assert "features.sequence" in errors["self_confidence"].expected
    assert f"write features: {line}" in errors["self_confidence"].fix
    assert "or network: mlp" in errors["self_confidence"].fix
    given = "features.sequence={keys: [place], fields: {price: {value: price}}}"
    assert refused(methods, given) == {}


def test_what_concerns_all_methods_is_an_error() -> None:
    fine = "{method: self_confidence, name: fine, training: {bins: 8}}"
    with pytest.raises(TrainingError, match="different numbers of bins"):
        check_config(config_of(f"importance=[{{method: self_confidence}}, {fine}]"))
