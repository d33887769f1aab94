"""The process that every rank of a training runs."""

import json
import os
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from reweight.core.files import write_whole
from reweight.core.heartbeat import Heartbeat
from reweight.core.left_out import Refusals
from reweight.core.logging import log_to_console
from reweight.core.run_folder import ModelsFolder
from reweight.importance.batch import Batch, Feed
from reweight.importance.training import Learner
from reweight.training.checkpoint import restore_checkpoint, save_checkpoint
from reweight.training.known_ids import ids_of_rows, read_ids, write_ids
from reweight.training.loop import Curves, fit, trainers_of
from reweight.training.models import fitted
from reweight.training.plan import FitPlan, Fitting
from reweight.training.refused import write_refused


def train_rank(plan_json: str) -> None:
    """Joins the other ranks, trains from the last checkpoint, and writes the models.

    An error is written to ``<folder>/errors/rank-<n>.txt`` before it is raised, since the launcher
    reports only that something failed.

    Args:
        plan_json: the `FitPlan` as JSON.
    """
    plan = FitPlan.model_validate_json(plan_json)
    folder, rank = plan.models, int(os.environ["RANK"])
    log_to_console()
    with (
        _reported(folder, rank),
        Heartbeat(folder.heartbeats, rank).beating() as heartbeat,
        _process_group(plan.fitting),
    ):
        device = _device(plan.fitting)
        refusals = Refusals(strict=plan.strict)
        trainers = trainers_of(plan.methods, plan.facts, device, plan.starting_models())
        start, curves = restore_checkpoint(folder.checkpoint, plan.key, trainers)

        def save(epoch: int, curves: Curves) -> None:
            heartbeat.now(epoch, "saving the checkpoint")
            if rank == 0:
                save_checkpoint(folder.checkpoint, plan.key, epoch, curves, trainers)
                write_whole(folder.curves, json.dumps(curves).encode())

        train = _feed(plan, plan.train, device, shuffle=True)
        # Small: fitting.validation_rows.
        validation = _cached(_feed(plan, plan.validation, device))
        curves = fit(
            trainers,
            _watched(train, heartbeat, "training"),
            _watched(validation, heartbeat, "validating"),
            start=start,
            curves=curves,
            after_epoch=save,
            refusals=refusals,
        )
        activity = "passing over the rows after training"
        models = fitted(
            plan.methods,
            trainers,
            plan.facts,
            _watched(_feed(plan, plan.train, device, whole=True), heartbeat, activity),
            _watched(_feed(plan, plan.validation, device, whole=True), heartbeat, activity),
            curves,
            device,
            refusals,
        )
        if rank == 0:
            write_whole(folder.curves, json.dumps(curves).encode())
            for name, model in models.items():
                model.replace(folder, name)
            write_refused(folder, refusals.errors)
            _note_ids(plan)
            if plan.start is not None:
                sizes = {t.name: (t.update.size, _size(t.learner)) for t in trainers}
                write_whole(folder.updated, json.dumps(sizes).encode())
        dist.barrier()


def _note_ids(plan: FitPlan) -> None:
    """Notes the ids that the models know, for those that start from them."""
    earlier = plan.start and plan.start.models
    # What an earlier version of the library fitted does not say which ids it knows.
    if not plan.facts.cardinalities or (earlier and not earlier.ids.is_file()):
        return
    row_ids = ids_of_rows(Path(plan.train), plan.facts.cardinalities)
    earlier_ids = read_ids(earlier) if earlier else row_ids
    write_ids(plan.models, [a | b for a, b in zip(row_ids, earlier_ids, strict=True)])


def _size(learner: Learner) -> int:
    return sum(parameter.numel() for parameter in learner.parameters())


def _feed(
    plan: FitPlan,
    folder: str,
    device: torch.device,
    *,
    shuffle: bool = False,
    whole: bool = False,
) -> Feed:
    from reweight.training.feed import SnapshotFeed

    feed = SnapshotFeed(
        folder=folder,
        batch_size=plan.fitting.batch_size,
        shards=plan.fitting.shards,
        rank=dist.get_rank(),
        world=dist.get_world_size(),
        seed=plan.seed,
        shuffle=shuffle,
        extra=plan.extra,
        reader=plan.fitting.feed,
        whole=whole,
    )
    return lambda epoch: (batch.to(device) for batch in feed(epoch))


def _cached(feed: Feed) -> Feed:
    """Repeats the first pass from memory: opening readers takes longer than a small pass."""
    batches: list[Batch] = []

    def cached(epoch: int) -> Iterator[Batch]:
        if not batches:
            batches.extend(feed(epoch))
        return iter(batches)

    return cached


def _watched(feed: Feed, heartbeat: Heartbeat, activity: str) -> Feed:
    """The same batches; the heartbeat shows if the rank waits for rows or for other ranks."""

    def batches(epoch: int) -> Iterator[Batch]:
        heartbeat.now(epoch + 1, f"{activity}, reading a batch")
        for batch in feed(epoch):
            heartbeat.now(epoch + 1, f"{activity}, computing a step")
            yield batch
            heartbeat.now(epoch + 1, f"{activity}, reading a batch")
        heartbeat.now(epoch + 1, f"{activity}, adding up losses")

    return batches


def _device(fitting: Fitting) -> torch.device:
    if fitting.use_gpu and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


@contextmanager
def _process_group(fitting: Fitting) -> Generator[None]:
    torch.set_num_threads(1)
    backend = "nccl" if _device(fitting).type == "cuda" else "gloo"
    # The driver stops a hanging training and names the rank; this applies if the driver is gone.
    dist.init_process_group(backend, timeout=timedelta(seconds=2 * fitting.timeout))
    try:
        yield
    finally:
        dist.destroy_process_group()


def failed_ranks(folder: ModelsFolder) -> dict[str, str]:
    """The error message of each failed rank, joined to one line, by rank.

    Args:
        folder: of the plan.
    """
    return {
        path.stem: _message(path.read_text()) for path in sorted(folder.errors.glob("rank-*.txt"))
    }


def _message(text: str) -> str:
    """The end of a traceback, from the name of the exception on."""
    lines = text.strip().splitlines()
    if not lines:  # the disk was full
        return "an error that could not be written"
    begin = max(i for i, line in enumerate(lines) if line[:1].strip())
    return "; ".join(" ".join(line.split()) for line in lines[begin:])


@contextmanager
def _reported(folder: ModelsFolder, rank: int) -> Generator[None]:
    try:
        yield
    except Exception:
        path = folder.errors / f"rank-{rank}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
        raise


def _end_with_parent() -> None:
    # Not by `sys.stdin`, which would be locked when the interpreter ends.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    # The plan is the first line; no other comes, and the end of the input is that of the driver.
    given = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    train_rank(given)
