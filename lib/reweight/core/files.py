"""Files that are written whole or not at all, and what identifies their content."""

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from reweight.core.digest import digest


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside the path, then renames it; a killed process leaves only a `.part`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_whole(path, json.dumps(value, indent=1, default=str).encode())


def content_hash(path: Path, *, without: Collection[str] = ()) -> str:
    """A hash of a file, or of all files in a folder; of nothing where there is none.

    Args:
        path: of the file or folder.
        without: names of files that do not count.
    """
    below = [path] if path.is_file() else path.rglob("*")
    files = sorted(file for file in below if file.is_file() and file.name not in without)
    return digest(*[f"{file.relative_to(path)} {_hash(file)}" for file in files])


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
