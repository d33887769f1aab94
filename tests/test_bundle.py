"""The Databricks bundle, as far as it can be checked without a workspace.

Only `databricks bundle validate` can tell whether Databricks accepts it.
"""

import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from reweight.config import RunConfig, load_config
from reweight.runner.pipeline import PIPELINE

pytestmark = pytest.mark.usefixtures("starts_processes")

ROOT = Path(__file__).parents[1]
STAGES = [stage.__name__ for stage in PIPELINE]
GIVEN = {"catalog": "main"}


@pytest.fixture(scope="module")
def bundle() -> dict[str, Any]:
    """All files of the bundle merged, as the Databricks command line does."""
    merged: dict[str, Any] = yaml.safe_load((ROOT / "databricks.yml").read_text())
    for pattern in merged["include"]:
        for path in sorted(ROOT.glob(pattern)):
            part = yaml.safe_load(path.read_text())
            assert not part.keys() & merged.keys(), f"{path} repeats a key of another file"
            merged |= part
    return merged


@pytest.fixture(scope="module")
def job(bundle: dict[str, Any]) -> dict[str, Any]:
    reweight: dict[str, Any] = bundle["resources"]["jobs"]["reweight"]
    return reweight


def filled(text: str, bundle: dict[str, Any], target: str = "dev") -> str:
    """A value with all variables filled in, as when a task of a target starts."""
    given = {k: str(v["default"]) for k, v in bundle["variables"].items() if "default" in v}
    given |= bundle["targets"][target].get("variables", {}) | GIVEN
    values = {f"var.{name}": value for name, value in given.items()}
    values |= {"workspace.file_path": str(ROOT), "job.parameters.run_id": "2026-01-31"}
    text = re.sub(r"\$\{([^}]+)\}", lambda match: values[match[1]], text)
    return re.sub(r"\{\{([^}]+)\}\}", lambda match: values[match[1]], text)


def test_the_targets_are_for_development_production_and_standard_access_mode(
    bundle: dict[str, Any],
) -> None:
    modes = {name: target["mode"] for name, target in bundle["targets"].items()}
    assert modes == {"dev": "development", "prod": "production", "standard": "development"}
    assert [name for name, t in bundle["targets"].items() if t.get("default")] == ["dev"]


def test_the_tasks_are_the_stages_of_the_pipeline_each_after_the_one_before(
    job: dict[str, Any],
) -> None:
    tasks = job["tasks"]
    assert [task["task_key"] for task in tasks] == STAGES
    assert "depends_on" not in tasks[0]
    before = [[d["task_key"] for d in task["depends_on"]] for task in tasks[1:]]
    assert before == [[stage] for stage in STAGES[:-1]]
    for task in tasks:
        script = (ROOT / "resources" / task["spark_python_task"]["python_file"]).resolve()
        assert script == ROOT / "jobs" / f"{task['task_key']}.py"
        assert f"main({task['task_key']})" in script.read_text()


def configs_of(target: str, bundle: dict[str, Any], job: dict[str, Any]) -> list[RunConfig]:
    configs = []
    for task in job["tasks"]:
        parameters = task["spark_python_task"]["parameters"]
        path, *overrides = [filled(text, bundle, target) for text in parameters]
        configs.append(load_config(path, overrides))
    return configs


def test_every_task_gets_a_config_that_loads(bundle: dict[str, Any], job: dict[str, Any]) -> None:
    configs = configs_of("dev", bundle, job)
    assert {c.run_id for c in configs} == {"2026-01-31"}
    assert {c.root for c in configs} == {"/Volumes/main/reweight/runs"}
    assert {c.catalog for c in configs} == {"main.reweight"}
    training = STAGES.index("fit_importance")
    assert [c.fitting.use_gpu for c in configs] == [n == training for n in range(len(STAGES))]
    assert configs[training].fitting.ranks == bundle["variables"]["gpu_workers"]["default"]


def clusters_of(
    target: str, bundle: dict[str, Any], job: dict[str, Any]
) -> dict[str, tuple[str, str]]:
    """Access mode and runtime of each task."""
    clusters = {c["job_cluster_key"]: c["new_cluster"] for c in job["job_clusters"]}
    used = {}
    for task in job["tasks"]:
        cluster = clusters[filled(task["job_cluster_key"], bundle, target)]
        mode, runtime = cluster["data_security_mode"], cluster["spark_version"]
        used[task["task_key"]] = filled(mode, bundle, target), filled(runtime, bundle, target)
    return used


def test_only_the_training_runs_on_machines_with_a_gpu(
    bundle: dict[str, Any], job: dict[str, Any]
) -> None:
    used = clusters_of("dev", bundle, job)
    assert {mode for mode, _ in used.values()} == {"SINGLE_USER"}
    runtimes = {task: runtime for task, (_, runtime) in used.items()}
    clusters = {c["job_cluster_key"]: c["new_cluster"] for c in job["job_clusters"]}
    cpu, gpu = "15.4.x-cpu-ml-scala2.12", "15.4.x-gpu-ml-scala2.12"
    assert runtimes == dict.fromkeys(STAGES, cpu) | {"fit_importance": gpu}
    settings = clusters["gpu"]["spark_conf"]
    assert settings["spark.task.resource.gpu.amount"] == "1"
    assert clusters["cpu"]["spark_conf"].items() <= settings.items()


def test_standard_access_mode_needs_neither_gpus_nor_barrier_tasks(
    bundle: dict[str, Any], job: dict[str, Any]
) -> None:
    used = clusters_of("standard", bundle, job)
    assert set(used.values()) == {("USER_ISOLATION", "17.3.x-scala2.13")}
    training = configs_of("standard", bundle, job)[STAGES.index("fit_importance")].fitting
    assert (training.where, training.ranks, training.use_gpu) == ("driver", 1, False)


def test_every_variable_is_described_and_used(bundle: dict[str, Any]) -> None:
    assert all(variable["description"] for variable in bundle["variables"].values())
    used = set(re.findall(r"\$\{var\.(\w+)\}", yaml.safe_dump(bundle)))
    assert used == set(bundle["variables"])


def test_the_typed_models_of_bundles_accept_the_job(job: dict[str, Any]) -> None:
    if importlib.util.find_spec("databricks") is None:
        pytest.skip("needs the typed models of bundles: pip install databricks-bundles")
    jobs = pytest.importorskip("databricks.bundles.jobs")
    assert len(jobs.Job.from_dict(job).tasks) == len(STAGES)
    with pytest.raises(ValueError, match="taskz"):
        jobs.Job.from_dict(job | {"taskz": []})


# Versions in the runtime that the bundle names, 15.4 LTS ML. Its Spark and Delta are patched, so
# the open-source releases are only close to them.
RUNTIME = {
    "pyspark": "3.5",
    "delta-spark": "3.",
    "pyarrow": "14.0.1",
    "numpy": "1.23.5",
    "pandas": "1.5.3",
    "torch": "2.3.1",
    "scikit-learn": "1.3.0",
    "scipy": "1.11.1",
}


def test_the_extra_spark35_pins_the_versions_of_the_runtime(job: dict[str, Any]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    pins = dict(line.split("==") for line in extras["spark35"])
    assert pins.keys() - RUNTIME.keys() == {"pydantic"}
    assert all(pins[name].startswith(version) for name, version in RUNTIME.items())
    lock = (ROOT / "requirements-spark35.lock").read_text().splitlines()
    assert {f"{name}=={version}" for name, version in pins.items()} <= set(lock)


@pytest.mark.parametrize("target", ["dev", "standard"])
def test_the_wheel_requires_nothing_that_the_runtime_provides(
    bundle: dict[str, Any], job: dict[str, Any], tmp_path: Path, target: str
) -> None:
    artifacts = bundle["targets"][target].get("artifacts") or bundle["artifacts"]
    _, script, folder, *options = artifacts["reweight"]["build"].split()
    built = subprocess.run(
        [sys.executable, ROOT / script, tmp_path / folder, *options, "--no-build-isolation"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-2000:]
    for task in job["tasks"]:
        (library,) = task["libraries"]
        (wheel,) = (tmp_path / "resources" / library["whl"]).parent.resolve().glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    files = {"reweight/clean_logs/stage.py", "reweight/report/templates/report.html.j2"}
    assert files <= set(names)
    (metadata,) = [name for name in names if name.endswith("/METADATA")]
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    requirements = re.findall(r"^Requires-Dist: ([^;\n]+)$", text, re.MULTILINE)
    lock = {"dev": "requirements-spark35.lock", "standard": "requirements.lock"}[target]
    assert set(requirements) <= set((ROOT / lock).read_text().splitlines())
    packages = {line.split("==")[0] for line in requirements}
    assert {"pydantic", "omegaconf", "filelock"} <= packages
    provided = {*RUNTIME, "petastorm", "setuptools"}
    if target == "standard":
        # It is no runtime for machine learning.
        provided -= {"torch", "scikit-learn", "scipy"}
        assert {"torch", "scikit-learn"} <= packages
    assert not packages & provided
