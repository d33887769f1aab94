"""Options of a job that stand for settings."""

import argparse

import pytest

from reweight.config import load_config
from reweight.runner.flags import Flag, overrides
from reweight.runner.job import run_job
from reweight.runner.pipeline import promote

FLAGS = (
    Flag("challenger", "promotion.challenger", "RUN", "run whose weights may go live"),
    Flag("history", "promotion.history", None, "show the decisions so far"),
)


def test_options_are_overrides_wherever_they_stand() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    for flag in FLAGS:
        flag.add_to(parser)
    given = parser.parse_intermixed_args(["a.yaml", "--challenger", "20260131", "run_id=x"])
    assert given.overrides == ["run_id=x"]
    found = overrides(FLAGS, given)
    assert found == ['promotion.challenger="20260131"']
    assert load_config("conf/demo.yaml", found).promotion.challenger == "20260131"


def test_a_job_with_options_explains_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_job(promote, argv=["--help"], flags=FLAGS)
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "--challenger RUN run whose weights may go live (the setting promotion.challenger)" in text
    )
    assert "--force" not in text


def test_options_that_contradict_each_other_are_refused_before_spark_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["conf/demo.yaml", "--history", "--challenger", "a"]
    assert run_job(promote, argv=argv, flags=FLAGS) == 2
    assert "expected one of ['challenger', 'rollback', 'history']" in capsys.readouterr().err
