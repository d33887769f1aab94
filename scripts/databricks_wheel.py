"""Builds the wheel for a Databricks cluster with 15.4 LTS ML.

python scripts/databricks_wheel.py dist/databricks [option of pip ...]

It is the library's wheel with different requirements. The runtime provides Spark, Delta, Petastorm
and PyTorch, but pip does not see its Spark and would install another one over it. So the wheel does
not require what the runtime provides, and pins the rest to the versions that `make test-spark35`
tests.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# In the runtime, in addition to the packages that the extra `spark35` pins.
PROVIDED = {"petastorm", "setuptools"}
# Pinned by the extra, but too old in the runtime.
REQUIRED = {"pydantic"}


def package(requirement: str) -> str:
    """The normalised package name of a requirement."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def requirements() -> list[str]:
    """The packages that the cluster has to install, with exact versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {package(line) for line in project["optional-dependencies"]["spark35"]}
    provided = (pinned | PROVIDED) - REQUIRED
    lock = (ROOT / "requirements-spark35.lock").read_text().splitlines()
    tested = {package(line): line for line in lock}
    names = [package(line) for line in project["dependencies"]]
    return [tested[name] for name in names if name not in provided]


def build(folder: Path, *options: str) -> Path:
    """Builds the wheel in a folder and returns its path.

    Args:
        folder: its previous content is deleted.
        options: options of pip; ``--no-build-isolation`` uses the installed setuptools.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        # A copy: the builder would include files that an earlier build left next to the sources.
        copy = Path(scratch)
        shutil.copytree(ROOT / "lib", copy / "lib", ignore=shutil.ignore_patterns("*.egg-info"))
        for name in ("README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        dependencies = "".join(f"  {line!r},\n" for line in requirements())
        project = re.sub(
            r"(?ms)^dependencies = \[\n.*?^\]",
            f"dependencies = [\n{dependencies}]",
            (ROOT / "pyproject.toml").read_text(),
            count=1,
        )
        (copy / "pyproject.toml").write_text(project)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *options]
        # The wheel is for the cluster's Python, whatever version builds it.
        command += ["--ignore-requires-python", "-w", str(folder), str(copy)]
        subprocess.run(command, check=True)  # noqa: S603
    (wheel,) = folder.glob("*.whl")
    return wheel


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), *sys.argv[2:]))
