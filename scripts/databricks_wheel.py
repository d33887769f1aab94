"""Builds the wheel for a Databricks cluster.

python scripts/databricks_wheel.py dist/databricks [--standard] [option of pip ...]

It is the library's wheel with different requirements. A runtime provides Spark and Delta, but pip
does not see its Spark and would install another one over it. So the wheel does not require what the
runtime provides, and pins the rest to versions that are tested: for 15.4 LTS ML, which has PyTorch
and Petastorm, to those of `make test-spark35`; with `--standard`, for 17.3 LTS of standard access
mode, which has neither, to those of `make test`.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# In 15.4 LTS ML, in addition to the packages that the extra `spark35` pins.
PROVIDED = {"petastorm", "setuptools"}
# Pinned by the extra, but too old in that runtime.
REQUIRED = {"pydantic"}
# In 17.3 LTS.
STANDARD = {"pyspark", "delta-spark", "pyarrow", "numpy", "pandas", "setuptools"}


def package(requirement: str) -> str:
    """The normalised package name of a requirement."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def requirements(standard: bool) -> list[str]:
    """The packages that the cluster has to install, with exact versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {package(line) for line in project["optional-dependencies"]["spark35"]}
    provided = STANDARD if standard else (pinned | PROVIDED) - REQUIRED
    name = "requirements.lock" if standard else "requirements-spark35.lock"
    lock = (ROOT / name).read_text().splitlines()
    tested = {package(line): line for line in lock}
    names = [package(line) for line in project["dependencies"]]
    return [tested[name] for name in names if name not in provided]


def build(folder: Path, *options: str, standard: bool = False) -> Path:
    """Builds the wheel in a folder and returns its path.

    Args:
        folder: its previous content is deleted.
        standard: whether it is for standard access mode.
        options: options of pip; ``--no-build-isolation`` uses the installed setuptools.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        # A copy: the builder would include files that an earlier build left next to the sources.
        copy = Path(scratch)
        shutil.copytree(ROOT / "lib", copy / "lib", ignore=shutil.ignore_patterns("*.egg-info"))
        for name in ("README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        dependencies = "".join(f"  {line!r},\n" for line in requirements(standard))
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
    rest = [word for word in sys.argv[2:] if word != "--standard"]
    print(build(Path(sys.argv[1]), *rest, standard="--standard" in sys.argv))
