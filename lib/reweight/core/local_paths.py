"""Paths in Hadoop's form, as far as they name files that this machine sees."""

import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Listing:
    """What a path stands for.

    Attributes:
        exists: whether it is the name of a file or folder; otherwise it is a pattern.
        roots: the files and folders that it names or matches, and whether each is a folder.
        under: every file that is there or below, hidden ones too.
    """

    exists: bool
    roots: list[tuple[str, bool]] = field(default_factory=list)
    under: list[str] = field(default_factory=list)


def here(path: str) -> Path | None:
    """The path on this machine; None where it has another scheme."""
    bare = path.removeprefix("file:")
    if bare != path:
        return Path(re.sub("^/+", "/", bare))
    return None if re.match(r"[a-zA-Z][\w+.-]*:/", path) else Path(path)


def listed_here(path: str) -> Listing:
    """Lists the files under a path that ``here`` knows."""
    place = here(path)
    assert place is not None
    exists = place.exists()
    names = [str(place)] if exists else _matching(str(place.absolute()))
    roots = [(f"file:{Path(name).absolute()}", Path(name).is_dir()) for name in names]
    under = []
    for name, (root, is_folder) in zip(names, roots, strict=True):
        files = sorted(Path(name).absolute().rglob("*")) if is_folder else []
        under += [f"file:{f}" for f in files if f.is_file()] if is_folder else [root]
    return Listing(exists, roots, under)


def _matching(pattern: str) -> list[str]:
    """The names that match a pattern of Hadoop, which also knows alternatives in braces."""
    choice = re.search(r"\{([^{}]*)\}", pattern)
    if choice is None:
        return sorted(str(path) for path in Path("/").glob(pattern.lstrip("/")))
    before, after = pattern[: choice.start()], pattern[choice.end() :]
    parts = [_matching(before + part + after) for part in choice[1].split(",")]
    return sorted({name for names in parts for name in names})
