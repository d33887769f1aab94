"""Builds the wheel that a cluster of Databricks 15.4 LTS ML installs.

python scripts/databricks_wheel.py dist/databricks [option of pip ...]

It is the library's own wheel with other requirements. The runtime brings Spark, Delta, Petastorm
and PyTorch, and an installer that sees no package of Spark there would put another Spark over it.
So what the runtime brings is not asked for, and the rest in the versions that `make test-spark35`
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
# In the runtime, beside what the extra `spark35` pins because the runtime has it.
BROUGHT = {"petastorm", "setuptools"}
# Not in the runtime in a version that will do, though the extra pins it.
WANTED = {"pydantic"}


def package(requirement: str) -> str:
    """The package of a requirement, as the index spells it."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def requirements() -> list[str]:
    """What the cluster has to install, in exact versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {package(line) for line in project["optional-dependencies"]["spark35"]}
    brought = (pinned | BROUGHT) - WANTED
    lock = (ROOT / "requirements-spark35.lock").read_text().splitlines()
    tested = {package(line): line for line in lock}
    names = [package(line) for line in project["dependencies"]]
    return [tested[name] for name in names if name not in brought]


def build(folder: Path, *options: str) -> Path:
    """Writes the wheel into a folder, in the place of what is there.

    Args:
        folder: for the wheel alone.
        options: of pip; ``--no-build-isolation`` takes the setuptools that is installed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        # A copy: the builder would take up what an earlier one left beside the sources.
        copy = Path(scratch)
        shutil.copytree(ROOT / "lib", copy / "lib", ignore=shutil.ignore_patterns("*.egg-info"))
        shutil.copy(ROOT / "README.md", copy)
        needed = "".join(f"  {line!r},\n" for line in requirements())
        own = re.sub(
            r"(?ms)^dependencies = \[\n.*?^\]",
            f"dependencies = [\n{needed}]",
            (ROOT / "pyproject.toml").read_text(),
            count=1,
        )
        (copy / "pyproject.toml").write_text(own)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *options]
        # It is built for the cluster's Python, whatever this one is.
        command += ["--ignore-requires-python", "-w", str(folder), str(copy)]
        subprocess.run(command, check=True)  # noqa: S603
    (wheel,) = folder.glob("*.whl")
    return wheel


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), *sys.argv[2:]))
