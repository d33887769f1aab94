"""Which version of the code is running: all of it, or what one stage stands on."""

import functools
import hashlib
import re
import subprocess
from pathlib import Path

from reweight.core.digest import digest

_PACKAGE = Path(__file__).parents[1]
_IMPORT = re.compile(
    rf"^[ \t]*from (?P<package>{_PACKAGE.name}[\w.]*) import (?P<names>\([^)]*\)|.*)$", re.MULTILINE
)


@functools.cache
def revision() -> str:
    """The code's Git revision, with a hash of the files where Git alone does not identify them."""
    # A repository that merely contains the package, such as in a .venv, does not track it.
    tracked = _git("ls-files", "--error-unmatch", "__init__.py")
    name = _git("describe", "--always", "--dirty", "--abbrev=12") if tracked else ""
    clean = name and not name.endswith("-dirty")
    return name if clean else f"{name or 'packed'}-{_sources()}"


@functools.cache
def code_of(module: str) -> str:
    """A hash of a stage's code: the files of its folder, and the modules that they stand on.

    Args:
        module: the stage's module.
    """
    if not module.startswith(f"{_PACKAGE.name}."):
        return revision()
    folder = _file_of(module).parent
    # With templates. What a config holds is compared by itself, so its class is no part of it.
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    new = {path for path in files if path.suffix == ".py"}
    while new:
        new = {file for path in new for file in _imported(path)} - files
        files |= new
    return digest(*[f"{path.relative_to(_PACKAGE)} {_hash(path)}" for path in sorted(files)])


@functools.cache
def _imported(path: Path) -> frozenset[Path]:
    """The files of the package that a file imports, but for the config and the package's own."""
    imported: set[Path] = set()
    for match in _IMPORT.finditer(path.read_text()):
        package, names = match["package"], re.findall(r"\w+", match["names"])
        modules = [package, *[f"{package}.{name}" for name in names]]
        # Importing a module runs the packages around it.
        modules += [package.rsplit(".", i)[0] for i in range(1, package.count("."))]
        files = {file for module in modules if (file := _file_of(module)).is_file()}
        imported |= files
    return frozenset(imported - {_PACKAGE / "__init__.py", _PACKAGE / "config.py"})


def _file_of(module: str) -> Path:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git(*arguments: str) -> str:
    """The output of Git in the package's folder; empty where Git is missing or fails."""
    try:
        finished = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=_PACKAGE,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return "" if finished.returncode else finished.stdout.strip()


def _sources() -> str:
    files = [
        str(path.relative_to(_PACKAGE)) + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(_PACKAGE.rglob("*.py"))
    ]
    return digest(*files)[:8]
