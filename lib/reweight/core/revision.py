"""Which version of the code is running."""

import functools
import hashlib
import subprocess
from pathlib import Path

from reweight.core.digest import digest

_PACKAGE = Path(__file__).parents[1]


@functools.cache
def revision() -> str:
    """The code's Git revision, with a hash of the files where Git alone does not identify them."""
    # A repository that merely contains the package, such as in a .venv, does not track it.
    tracked = _git("ls-files", "--error-unmatch", "__init__.py")
    name = _git("describe", "--always", "--dirty", "--abbrev=12") if tracked else ""
    clean = name and not name.endswith("-dirty")
    return name if clean else f"{name or 'packed'}-{_sources()}"


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
