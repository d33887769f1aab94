"""Only one process at a time works on a run.

It holds the run's lock, which the operating system releases when the process ends, however it ends.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from reweight.core.errors import RunError
from reweight.core.run_folder import RunFolder


@contextmanager
def run_lock(folder: RunFolder) -> Iterator[None]:
    """Holds the run's lock, and removes what a killed process left half written.

    Raises:
        RunError: another process is working on the run.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.lock, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        owner = folder.owner
        raise RunError(
            f"run '{folder.path.name}' is already in progress",
            expected="one process at a time per run",
            got=owner.read_text() if owner.exists() else "another process holds its lock",
            fix="wait for it, or give this run another run_id; nothing was changed",
        ) from error
    try:
        owner_facts = {"host": socket.gethostname(), "pid": os.getpid(), "since": now()}
        folder.owner.write_text(json.dumps(owner_facts))
        for part in folder.path.rglob("*.part"):
            part.unlink(missing_ok=True)
        shutil.rmtree(folder.scratch, ignore_errors=True)
        yield
    finally:
        shutil.rmtree(folder.scratch, ignore_errors=True)
        folder.owner.unlink(missing_ok=True)
        lock.release()


def now() -> str:
    """The current time, UTC, in the form that records use."""
    return datetime.now(UTC).isoformat(timespec="seconds")
