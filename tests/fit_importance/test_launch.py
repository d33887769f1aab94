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
    ],
)
def test_others_need_nothing(amount: str | None, settings: dict[str, Any]) -> None:
    check_gpus(session(amount), Fitting.model_validate(settings))


def test_a_driver_that_trains_on_a_gpu_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = Fitting(use_gpu=True, where="driver")
    # Spark has no say in it.
    for there in (True, False):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        if there:
            check_gpus(session(None), fitting)
            continue
        with pytest.raises(SetupError, match="the driver, which trains, has no GPU") as caught:
            check_gpus(session(None), fitting)
        assert caught.value.fix.startswith("write fitting: {use_gpu: false}")
