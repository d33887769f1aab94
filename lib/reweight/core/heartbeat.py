"""Signs of life of training ranks: each says what it does, and since when, in a file of its own.

A rank that hangs makes the others wait for it, so all of them stop. What tells it from the others
is that it is behind: it reads or computes while they wait for its gradients.
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
    """What a rank does.

    Attributes:
        rank: its number.
        host: where it runs.
        pid: of its process there.
        epoch: in which it is, from 1.
        turn: how many things it did before; all ranks do the same ones.
        doing: in words.
        since: seconds since 1970 when it began to do that.
        seen: when the rank last wrote.
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
        """For an error message."""
        now = time.time()
        silent = f", silent for {now - self.seen:.0f} s" if now - self.seen > 5 * _PERIOD else ""
        return (
            f"rank {self.rank} (process {self.pid} on {self.host}), epoch {self.epoch}: "
            f"{self.doing}, for {now - self.since:.0f} s{silent}"
        )


class Heartbeat:
    """Writes a rank's sign every second, in a thread: also when the rank itself hangs."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._path = folder / f"{rank}.json"
        self._rank, self._parent = rank, os.getppid()
        self._place = (1, 0, "starting", time.time())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    @contextmanager
    def beating(self) -> Iterator["Heartbeat"]:
        """Beats as long as the block runs."""
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
        """Says what the rank does from now on; costs next to nothing."""
        self._place = (epoch, self._place[1] + 1, doing, time.time())

    def _beat(self) -> None:
        while not self._stop.wait(_PERIOD):
            if os.getppid() != self._parent:
                # The task that started this rank is gone (killed, cancelled): so is its purpose.
                os._exit(1)
            self._write()

    def _write(self) -> None:
        host, now = socket.gethostname(), time.time()
        sign = Sign(self._rank, host, os.getpid(), *self._place, seen=now)
        write_whole(self._path, json.dumps(asdict(sign)).encode())


_CURRENT: ContextVar[Heartbeat | None] = ContextVar("heartbeat", default=None)


def progress(doing: str) -> None:
    """Says that this rank makes progress in a long computation; without a rank, nothing.

    Args:
        doing: in words; what is said in a loop must be said as often by every rank.
    """
    if (own := _CURRENT.get()) is not None:
        own.now(own._place[0], doing)


def signs(folder: Path) -> list[Sign]:
    """The last sign of every rank, the one that is furthest behind first."""
    found = [Sign(**json.loads(p.read_text())) for p in folder.glob("*.json")]
    return sorted(found, key=lambda sign: (sign.turn, sign.since))


def stuck(folder: Path, timeout: float) -> list[Sign]:
    """The signs of all ranks, if none of them made progress for ``timeout`` seconds; else none."""
    found = signs(folder)
    latest = max((sign.since for sign in found), default=time.time())
    return found if time.time() - latest > timeout else []


def forget(folder: Path) -> None:
    """Removes the signs of an earlier attempt."""
    for path in folder.glob("*.json"):
        path.unlink(missing_ok=True)
