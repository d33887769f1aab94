"""Trains in a process on the driver: one rank, on the batches that it would have on an executor."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reweight.core.errors import TrainingError
from reweight.core.session_kind import master
from reweight.fit_importance.job import FitJob
from reweight.importance.training import TrainFacts
from reweight.training import rank
from reweight.training.plan import FitPlan

# About 5 million rows of 200 features: hours of training in one process.
DRIVER_LIMIT = 4 << 30


def fits_driver(job: FitJob, facts: TrainFacts, extra: int, *, with_sequence: bool = False) -> bool:
    """Whether the driver trains, which ``fitting.where`` asks for or leaves open.

    Args:
        job: the settings.
        facts: of the training rows.
        extra: number of additional columns.
        with_sequence: whether training reads the sequences.

    Raises:
        TrainingError: it is asked for, and the rows are larger than ``DRIVER_LIMIT``.
    """
    fitting = job.fitting
    if fitting.where == "executors":
        return False
    sequence = facts.sequence if with_sequence else None
    events, fields = (sequence.length, len(sequence.fields)) if sequence else (0, 0)
    # As in a batch: `sample_id` and ids of 8 bytes, all else float32.
    row = 12 + 8 * (len(facts.cardinalities) + events * fields)
    row += 4 * (facts.dim + extra + events)
    size = row * facts.rows
    if fitting.where == "auto":
        alone = fitting.ranks == 1 and not fitting.use_gpu
        # A server of Spark Connect on this machine is as near.
        here = re.match(r"local(\[|$)", master(job.spark)) is not None
        return alone and size <= DRIVER_LIMIT and here
    if size > DRIVER_LIMIT:
        raise TrainingError(
            "there are too many rows to train on the driver",
            expected=f"at most {DRIVER_LIMIT >> 30} GiB of training rows, since one process reads "
            "all of them in every epoch",
            got=f"{facts.rows:,} rows of {row} bytes: {size / (1 << 30):.1f} GiB",
            fix="write fitting: {where: executors} and train on a cluster that runs barrier tasks, "
            "or sample fewer rows",
        )
    return True


@contextmanager
def on_driver(plan: FitPlan) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Starts the only rank of a plan in a process of its own, which ends with this one.

    Yields:
        A function that waits for the end of the training, and one that ends it.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    # What this process can import, the other can, too: a notebook may have added folders.
    place["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", rank.__name__],
        env=os.environ | place,
        stdin=subprocess.PIPE,
        text=True,
    )

    def wait() -> None:
        assert process.stdin is not None
        # It stays open: the process ends when it closes, so also when this one is killed.
        process.stdin.write(plan.model_dump_json(by_alias=True) + "\n")
        process.stdin.flush()
        if process.wait():
            raise ChildProcessError(f"the process ended with status {process.returncode}")

    try:
        yield wait, process.kill
    finally:
        process.kill()
        process.communicate()
