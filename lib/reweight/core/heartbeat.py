"""Heartbeats of training ranks: each writes what it is doing, and since when, to its own file.

A rank that hangs makes the others wait for it, so all of them stop. It can be recognised because
it is behind: it is still reading or computing while the others wait for its gradients.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path

from reweight.core.files import write_whole

_PERIOD = 1.0


@dataclass(frozen=True)
class Sign:
    """What a rank is doing.

    Attributes:
        rank: its number.
        host: the host on which it runs.
        pid: the id of its process there.
        epoch: its current epoch, from 1.
        turn: number of steps before the current one; all ranks take the same steps.
        doing: the current step, in words.
        since: when the step began, in seconds since 1970.
        seen: when the rank last wrote, in seconds since 1970.
    """

    rank: int
    host: str
    pid: int
    epoch: int
    turn: int
    doing: str
    since: float
    seen: float

    def __str__(self) -> str:
        """One line for an error message."""
        now = time.time()
        silent = f", silent for {now - self.seen:.0f} s" if now - self.seen > 5 * _PERIOD else ""
        return (
            f"rank {self.rank} (process {self.pid} on {self.host}), epoch {self.epoch}: "
            f"{self.doing}, for {now - self.since:.0f} s{silent}"
        )


class Heartbeat:
    """Writes a rank's sign every second, from a thread, so also while the rank itself hangs."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._path = folder / f"{rank}.json"
        self._rank, self._parent = rank, os.getppid()
        self._step = (1, 0, "starting", time.time())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    @contextmanager
    def beating(self) -> Iterator["Heartbeat"]:
        """Beats while the block runs."""
        self._write()
        self._thread.start()
        token = _CURRENT.set(self)
        try:
            yield self
        finally:
            _CURRENT.reset(token)
            self._stop.set()
            self._thread.join()

    def now(self, epoch: int, doing: str) -> None:
        """Records what the rank does from now on; costs next to nothing."""
        self._step = (epoch, self._step[1] + 1, doing, time.time())

    def _beat(self) -> None:
        while not self._stop.wait(_PERIOD):
            if os.getppid() != self._parent:
                # The task that started this rank is gone (killed or cancelled), so stop too.
                os._exit(1)
            self._write()

    def _write(self) -> None:
        host, now = socket.gethostname(), time.time()
        sign = Sign(self._rank, host, os.getpid(), *self._step, seen=now)
        write_whole(self._path, json.dumps(asdict(sign)).encode())


_CURRENT: ContextVar[Heartbeat | None] = ContextVar("heartbeat", default=None)


def progress(doing: str) -> None:
    """Records progress of this rank within a long computation; does nothing outside of a rank.

    Args:
        doing: the step, in words; within a loop every rank must record it equally often.
    """
    if (heartbeat := _CURRENT.get()) is not None:
        heartbeat.now(heartbeat._step[0], doing)


def signs(folder: Path) -> list[Sign]:
    """The last sign of every rank, the one furthest behind first."""
    last_signs = [Sign(**json.loads(p.read_text())) for p in folder.glob("*.json")]
    return sorted(last_signs, key=lambda sign: (sign.turn, sign.since))


def stuck(folder: Path, timeout: float) -> list[Sign]:
    """The signs of all ranks if none made progress for ``timeout`` seconds, else no signs."""
    last_signs = signs(folder)
    latest = max((sign.since for sign in last_signs), default=time.time())
    return last_signs if time.time() - latest > timeout else []


def forget(folder: Path) -> None:
    """Removes the signs of an earlier attempt."""
    for path in folder.glob("*.json"):
        path.unlink(missing_ok=True)
