"""The list of rankers in a config, its short form, and what the config alone refuses."""

from pathlib import Path
from typing import Any

import pytest

from reweight.config import RunConfig, load_config
from reweight.core.errors import ConfigError, WeightError
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.uniform import Uniform
from reweight.score_weights.policy import PolicyStats
from reweight.train_ranker.fit import check_rankers, columns_of, weight_columns
from reweight.train_ranker.rankers import RANKERS
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression
from reweight.train_ranker.stage import check_config

DEMO = str(Path(__file__).parents[2] / "conf" / "demo.yaml")
ALS = "{ranker: als, item: item}"


def with_rankers(*rankers: str, more: tuple[str, ...] = ()) -> RunConfig:
    return load_config(DEMO, ["ranking=null", f"rankers=[{', '.join(rankers)}]", *more])


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(DEMO, overrides)
    return error.value.got


def test_the_default_is_a_logistic_regression() -> None:
    assert load_config(DEMO, ["ranking=null"]).rankers == (LogisticRegression(),)
    (ranker,) = load_config(DEMO, ["ranking.C=0.5", "ranking.recalibrate=[random]"]).rankers
    assert ranker == LogisticRegression(C=0.5, tol=1e-4, recalibrate=("random",))
    assert (ranker.ranker, ranker.name) == ("logistic_regression", "logistic_regression")


def test_the_short_form_is_the_same_run_as_the_list() -> None:
    short = load_config(DEMO, ["ranking.C=0.5"])
    long = with_rankers("{ranker: logistic_regression, C: 0.5, tol: 1e-4}")
    assert short == long
    assert short.hash() == long.hash()
    assert long == with_rankers(
        "{ranker: logistic_regression}", more=("rankers.0.C=0.5", "rankers.0.tol=1e-4")
    )


def test_both_forms_at_once_are_refused_with_the_line_to_write() -> None:
    said = refused("ranking.C=0.5", "rankers=[{ranker: gbt}]")
    assert "got both; write ranking: null beside `rankers`" in said
    assert "- {ranker: logistic_regression, tol: 0.0001, C: 0.5}" in said
    said = refused("ranking.C=0.5", "rankers=[{ranker: gbt}, {ranker: logistic_regression}]")
    assert "rankers.1.tol=0.0001 rankers.1.C=0.5" in said
    assert "write ranking: {C: 0.1}" in refused("ranking=3")


@pytest.mark.parametrize(
    ("rankers", "said"),
    [
        ("[]", "at least one ranker"),
        ("[{ranker: gbt}, {ranker: gbt}]", "set `name` on one of them"),
        ("[{ranker: gbt, name: Als}, {ranker: als, item: item}]", "different names"),
        ("[{ranker: gbt, name: weight}]", "'weight' is reserved"),
        ("[{ranker: gbt, recalibrate: [rnadom]}]", "rankers.0.recalibrate: 'rnadom'"),
        ("[{ranker: als}]", "rankers.0.als.item"),
        ("[{ranker: deep, hidden: [8, 0]}]", "rankers.0.deep.hidden.1"),
        ("[{ranker: fm}]", "'logistic_regression'"),
        ("[{ranker: als, item: 'a b'}]", "rankers.0.als.item"),
    ],
)
def test_lists_that_are_no_rankers_are_refused(rankers: str, said: str) -> None:
    assert said in refused("ranking=null", f"rankers={rankers}")


def test_the_training_rows_carry_what_some_ranker_reads() -> None:
    assert columns_of(load_config(DEMO).rankers) == ("vector",)
    config = with_rankers("{ranker: gbt, ids: false}", ALS, "{ranker: random_forest}")
    assert columns_of(config.rankers) == ("features", "group_id", "ids", "vector")
    own = with_rankers("{ranker: als, user: keep.shop, item: item}").rankers
    assert columns_of(own) == ("shop", "ids")


@pytest.mark.parametrize(
    ("user", "item", "got"),
    [
        ("group_id", "product", "item: product"),
        ("member", "item", "user: member"),
        ("group_id", "keep.product", "item: keep.product"),
    ],
)
def test_ids_that_no_sample_has_are_refused_before_any_work(user: str, item: str, got: str) -> None:
    config = with_rankers(f"{{ranker: als, user: {user}, item: {item}}}")
    with pytest.raises(ConfigError) as error:
        check_config(config)
    name = got.rpartition(" ")[2].removeprefix("keep.")
    assert error.value.got.startswith(got)
    assert "'group_id', 'item'" in error.value.expected
    assert f"features: {{categorical: {{{name}: {{value: {name}" in error.value.fix
    assert f"sampling: {{keep: {{{name}: {name}}}}}" in error.value.fix


def test_ids_of_the_samples_are_accepted() -> None:
    check_config(with_rankers(ALS))
    kept = ("sampling.keep.shop=country",)
    check_config(with_rankers("{ranker: als, user: keep.shop, item: item}", more=kept))
    named = with_rankers("{ranker: als, user: keep.random, item: item}")
    sampling: Any = named.sampling.model_copy(update={"keep": {"random": "country"}})
    with pytest.raises(ConfigError) as error:
        check_rankers(named.rankers, ["uniform", "random"], named.features, sampling)
    assert error.value.got == "['random']"
    assert "sampling.keep" in error.value.fix


@pytest.mark.parametrize(
    ("rankers", "kept"),
    [
        ("{ranker: als, user: keep.weight, item: item}", "weight"),
        ("{ranker: als, user: keep.Weight, item: item}", "Weight"),
        ("{ranker: logistic_regression}", "vector"),
        ("{ranker: logistic_regression}", "rotated"),
    ],
)
def test_a_kept_column_that_training_rows_have_themselves_is_refused(
    rankers: str, kept: str
) -> None:
    with pytest.raises(ConfigError) as error:
        check_config(with_rankers(rankers, more=(f"sampling.keep.{kept}=country",)))
    assert error.value.got == f"['{kept}']"
    assert error.value.fix == f"rename it in sampling.keep, such as {kept}_kept"
    # Judges may read it.
    check_config(with_rankers("{ranker: deep}", more=(f"sampling.keep.{kept}=country",)))


def test_every_kind_says_what_it_needs() -> None:
    for kind in RANKERS.values():
        assert all(isinstance(text, str) and text for text in (kind.takes, kind.needs, kind.cost))


def test_raw_importance_regularises_by_its_mean_wherever_it_was_fitted() -> None:
    methods = (ImportanceMlp(preset="reference"), ImportanceMlp(), Uniform())
    # Fitted on a million rows; those that are ranked may be fewer.
    fitted = PolicyStats(map="identity", raw_sum=5e6, rows=1e6)
    columns = weight_columns(methods, {m.name: fitted for m in methods})
    assert [column.raw_mean for column in columns] == [5.0, 1.0, 1.0]
    earlier = {m.name: PolicyStats(map="identity", raw_sum=5e6) for m in methods}
    assert len(weight_columns(methods[1:], earlier)) == 2
    with pytest.raises(WeightError, match="lacks the number of training rows"):
        weight_columns(methods, earlier)
