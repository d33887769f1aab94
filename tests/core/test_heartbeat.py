"""Signs of life: who is behind, and when nobody gets on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reweight.core.heartbeat import Heartbeat, forget, progress, signs, stuck


def write(folder: Path, rank: int, turn: int, since: float) -> None:
    path = folder / f"{rank}.json"
    path.parent.mkdir(exist_ok=True)
    sign = {"rank": rank, "host": "h", "pid": 1, "epoch": 1, "turn": turn, "doing": "training"}
    path.write_text(json.dumps(sign | {"since": since, "seen": since}))


def test_a_rank_says_what_it_does_in_a_file_of_its_own(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, 3).beating() as heartbeat:
        (sign,) = signs(tmp_path)
        assert (sign.rank, sign.doing, sign.pid) == (3, "starting", os.getpid())
        heartbeat.now(2, "training, reading a batch")
        time.sleep(1.5)
        (sign,) = signs(tmp_path)
        assert (sign.epoch, sign.turn, sign.doing) == (2, 1, "training, reading a batch")
        assert sign.seen - sign.since > 0.5
    forget(tmp_path)
    assert signs(tmp_path) == []


def test_a_long_computation_says_that_it_gets_on(tmp_path: Path) -> None:
    progress("nobody listens")
    with Heartbeat(tmp_path, 0).beating() as heartbeat:
        heartbeat.now(4, "looking at rows again, adding up losses")
        progress("fit 7 of 9")
        time.sleep(1.5)
        (sign,) = signs(tmp_path)
        assert (sign.epoch, sign.turn, sign.doing) == (4, 2, "fit 7 of 9")
    progress("nobody listens any more")
    (sign,) = signs(tmp_path)
    assert sign.doing == "fit 7 of 9"


def test_the_rank_that_is_behind_comes_first(tmp_path: Path) -> None:
    now = time.time()
    write(tmp_path, 0, turn=8, since=now - 30)
    write(tmp_path, 1, turn=7, since=now - 29)
    # Of two at the same place the one that has been there longer is waited for.
    write(tmp_path, 2, turn=7, since=now - 31)
    assert [sign.rank for sign in signs(tmp_path)] == [2, 1, 0]


def test_nobody_is_stuck_while_one_rank_gets_on(tmp_path: Path) -> None:
    now = time.time()
    assert stuck(tmp_path, 10) == []
    write(tmp_path, 0, turn=8, since=now - 100)
    write(tmp_path, 1, turn=9, since=now - 1)
    assert stuck(tmp_path, 10) == []
    write(tmp_path, 1, turn=9, since=now - 20)
    found = stuck(tmp_path, 10)
    assert [sign.rank for sign in found] == [0, 1]
    assert "rank 0 (process 1 on h), epoch 1: training, for 100 s" in str(found[0])
    assert "silent" in str(found[0])


@pytest.mark.usefixtures("starts_processes")
def test_a_rank_whose_task_is_gone_ends_itself(tmp_path: Path) -> None:
    hanging = (
        "import time; from pathlib import Path; from reweight.core.heartbeat import Heartbeat\n"
        f"with Heartbeat(Path({str(tmp_path)!r}), 0).beating(): time.sleep(60)"
    )
    # The task starts the rank and is killed once it lives.
    task = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {hanging!r}])\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", task])
    while not (found := signs(tmp_path)):
        time.sleep(0.05)
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while Path(f"/proc/{found[0].pid}").exists():
        assert time.monotonic() < end, "the rank lives on"
        time.sleep(0.1)
