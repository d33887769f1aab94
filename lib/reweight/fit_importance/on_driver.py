"""Trains in a process on the driver, where executors cannot: one rank, on the same batches."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reweight.core.errors import TrainingError
from reweight.importance.training import TrainFacts
from reweight.training import rank
from reweight.training.plan import FitPlan

# About 5 million rows of 200 features: hours of training in one process.
DRIVER_LIMIT = 4 << 30


def check_size(facts: TrainFacts, extra: int) -> None:
    """Refuses rows that are too many for one process, before they are written for training.

    Args:
        facts: of the training rows.
        extra: number of additional columns.

    Raises:
        TrainingError: the rows are larger than ``DRIVER_LIMIT``.
    """
    # As in the snapshot: `sample_id` and ids of 8 bytes, all else float32.
    row = 12 + 8 * len(facts.cardinalities) + 4 * (facts.dim + extra)
    if (size := row * facts.rows) > DRIVER_LIMIT:
        raise TrainingError(
            "there are too many rows to train on the driver",
            expected=f"at most {DRIVER_LIMIT >> 30} GiB of training rows, since one process reads "
            "all of them in every epoch",
            got=f"{facts.rows:,} rows of {row} bytes: {size / (1 << 30):.1f} GiB",
            fix="set fitting.where: executors and train on a cluster that runs barrier tasks, or "
            "sample fewer rows",
        )


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
