"""Which code runs."""

import functools
import hashlib
import subprocess
from pathlib import Path

from reweight.core.digest import digest

_PACKAGE = Path(__file__).parents[1]


@functools.cache
def revision() -> str:
    """What code runs: its Git revision, and a hash of the files where that does not name them."""
    # A repository that only lies around the package, as one with a .venv in it, says nothing of it.
    tracked = _git("ls-files", "--error-unmatch", "__init__.py")
    name = _git("describe", "--always", "--dirty", "--abbrev=12") if tracked else ""
    clean = name and not name.endswith("-dirty")
    return name if clean else f"{name or 'packed'}-{_sources()}"


def _git(*arguments: str) -> str:
    """What Git says in the package's folder: nothing where it is not installed, or refuses."""
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
