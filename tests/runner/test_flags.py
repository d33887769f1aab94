"""Options of a job that stand for settings."""

import argparse
import re

import pytest

from reweight.config import BenchmarkConfig, ConditionsConfig, RunConfig, load_config, read_config
from reweight.core.errors import ConfigError
from reweight.core.job_config import JobConfig
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


@pytest.mark.parametrize("kind", [RunConfig, ConditionsConfig, BenchmarkConfig])
def test_the_overrides_that_help_names_fit_the_config_that_it_names(
    kind: type[JobConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_job(promote, config=kind, argv=["--help"])
    text = capsys.readouterr().out
    with pytest.raises(ConfigError) as refused:
        load_config("conf/demo.yaml", ["no assignment"])
    for named in (text, str(refused.value)):
        examples = [e for e in re.findall(r"[a-z][\w.]*=\w+", named) if e != "key=value"]
        assert len(examples) >= 2
        read_config(kind, kind.example, [*examples, "data_dir=/data"])


def test_options_that_contradict_each_other_are_refused_before_spark_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["conf/demo.yaml", "--history", "--challenger", "a"]
    assert run_job(promote, argv=argv, flags=FLAGS) == 2
    assert "expected one of ['challenger', 'rollback', 'history']" in capsys.readouterr().err
