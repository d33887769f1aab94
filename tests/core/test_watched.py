"""Which settings a stage read, and that no change of a setting passes unnoticed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reweight.config import RunConfig, load_config
from reweight.core.watched import Watched, noted

SHOP = str(Path(__file__).parents[1] / "shop.yaml")


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config(SHOP, ("root=/tmp/none",))


def test_what_a_stage_reads_is_noted(config: RunConfig) -> None:
    watched: Any = Watched(config)
    assert watched.seed == config.seed
    assert watched.weighting.temper == 1
    assert watched.example == config.example
    assert noted(watched).keys() == {"seed", "weighting"}
    assert noted(watched, besides=["weighting"]).keys() == {"seed"}
    # What a property of the config reads is read, too; where the run is makes no difference.
    assert watched.model_folder == config.model_folder
    assert noted(watched).keys() == {"seed", "weighting", "model_run_id"}
    with pytest.raises(AttributeError, match="wheighting"):
        _ = watched.wheighting


def test_a_method_of_the_config_may_read_all_of_it(config: RunConfig) -> None:
    watched: Any = Watched(config)
    assert watched.hash() == config.hash()
    assert noted(watched) == config.settings()


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_each_value_of_the_config_is_part_of_the_setting_that_holds_it(config: RunConfig) -> None:
    whole, before = config.model_dump(), config.settings()
    places = {"run_id", "root", "catalog", "spark", "tracking", "monitoring", "promotion"}
    assert before.keys() == whole.keys() - places
    changed = 0
    for path in leaves(whole):
        if path[0] == "fitting" and path[1] in config.fitting.how:
            continue
        own = changed_at(config, path).settings()
        differ = {name for name in own if own[name] != before[name]}
        assert differ == {path[0]} - places, path
        changed += 1
    assert changed > 150


def test_how_a_training_is_executed_is_no_setting_that_results_depend_on(
    config: RunConfig,
) -> None:
    for name in config.fitting.how:
        assert changed_at(config, ("fitting", name)).settings() == config.settings()


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values that hold no others."""
    items = (
        list(values.items())
        if isinstance(values, dict)
        else list(enumerate(values))
        if isinstance(values, tuple)
        else []
    )
    if not items:
        yield path
    for key, value in items:
        yield from leaves(value, (*path, key))


def changed_at(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy with another value at the path; nothing is validated."""
    if not path:
        return "another"
    key, rest = path[0], path[1:]
    if isinstance(value, dict):
        return value | {key: changed_at(value[key], rest)}
    if isinstance(value, tuple):
        return (*value[:key], changed_at(value[key], rest), *value[key + 1 :])
    return value.model_copy(update={key: changed_at(getattr(value, key), rest)})
