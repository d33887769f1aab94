"""What is asked of a Spark session before ranks are launched in it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyspark.sql import SparkSession

from reweight.core.errors import SetupError
from reweight.fit_importance.launch import check_gpus
from reweight.training.plan import Fitting

KEY = "spark.task.resource.gpu.amount"


def session(amount: str | None) -> SparkSession:
    def get(key: str, default: str) -> str:
        assert key == KEY
        return default if amount is None else amount

    return cast(SparkSession, SimpleNamespace(conf=SimpleNamespace(get=get)))


@pytest.mark.parametrize("amount", [None, "0", "0.5"])
def test_ranks_on_gpus_need_a_whole_one_for_each_task(amount: str | None) -> None:
    with pytest.raises(SetupError, match=r"no GPU of their own") as caught:
        check_gpus(session(amount), Fitting(use_gpu=True))
    assert caught.value.got == (amount or "0")
    assert "fitting: {use_gpu: false}" in caught.value.fix


@pytest.mark.parametrize(
    ("amount", "settings"),
    [
        ("1", {"use_gpu": True}),
        (None, {}),
        # The driver looks for a GPU itself, and Spark has no say in it.
        (None, {"use_gpu": True, "where": "driver"}),
    ],
)
def test_others_need_nothing(amount: str | None, settings: dict[str, Any]) -> None:
    check_gpus(session(amount), Fitting.model_validate(settings))
