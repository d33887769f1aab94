"""Only one process at a time works on a run.

It holds the run's lock, which the operating system releases when the process ends, however it ends.
On a file system without such locks the file itself is the lock: a process that was killed leaves
it, and only one on the same host can tell that nobody holds it.
"""

import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from reweight.core.errors import RunError, SetupError
from reweight.core.run_folder import RunFolder


@contextmanager
def run_lock(folder: RunFolder) -> Iterator[None]:
    """Holds the run's lock, and removes what a killed process left half written.

    Raises:
        RunError: another process is working on the run.
        SetupError: the run's folder cannot be made, or has no locks.
    """
    lock = _acquired(folder)
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


def _acquired(folder: RunFolder) -> BaseFileLock:
    lock = FileLock(folder.lock, blocking=False)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise _in_progress(folder, soft=isinstance(lock, SoftFileLock)) from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise SetupError(
            f"the folder of run '{folder.path.name}' cannot be used",
            expected=f"a folder {folder.path} that can be made, written to and locked",
            got=str(error),
            fix="set `root` to a folder of your own, on a file system with locks: root=/data/runs",
        ) from error
    return lock


def _in_progress(folder: RunFolder, *, soft: bool) -> RunError:
    owner = ""
    # The other process may be about to write it, or to remove it.
    with suppress(FileNotFoundError):
        owner = folder.owner.read_text()
    fix = "wait for it, or give this run another run_id; nothing was changed"
    if soft:
        fix += f"; if no process works on the run any more: rm {folder.lock}"
    return RunError(
        f"run '{folder.path.name}' is already in progress",
        expected="one process at a time per run",
        got=owner or "another process holds its lock",
        fix=fix,
    )


def now() -> str:
    """The current time, UTC, in the form that records use."""
    return datetime.now(UTC).isoformat(timespec="seconds")
