"""What a run's records tell of its weights: which they are, and whether they were judged.

A pipeline that is started again and killed leaves new weights beside the predictions and the
decision of the old ones. The record of a stage names what it left by a ``key``, and what it was
made of by ``before``, the key of the stage before it.
"""

from collections.abc import Sequence

from reweight.core.errors import PromotionError
from reweight.core.run_folder import RunFolder, read_records

WEIGHING = "score_weights"
JUDGED_BY = (WEIGHING, "train_ranker", "evaluate")
_STATUS = {
    "running": "it was interrupted, or is at work",
    "failed": "it failed",
    "missing": "it has not been run",
}


def weights_key(folder: RunFolder) -> str | None:
    """What names the weights that a run has now; None while that is not known."""
    record = read_records(folder).get(WEIGHING, {})
    return record.get("key") if record.get("status") == "done" else None


def check_done(folder: RunFolder, stages: Sequence[str] = JUDGED_BY) -> None:
    """Refuses a run of which stages are not done, or not in one go.

    Args:
        folder: the run.
        stages: names of stages that follow each other; by default those between weights and what
            its judges say of them.

    Raises:
        PromotionError: a stage is not done, or the one before it was run since.
    """
    records, name = read_records(folder), folder.path.name
    for before, stage in zip(("", *stages), stages, strict=False):
        record = records.get(stage, {"status": "missing"})
        if record["status"] != "done":
            got = _STATUS[record["status"]]
        elif record.get("key") is None:
            got = "an earlier version of the library ran it"
        elif before and record["before"] != records[before]["key"]:
            got = f"{before} has been run since"
        else:
            continue
        raise PromotionError(
            f"run '{name}' is not finished: {stage}",
            expected=f"{', '.join(stages)}: done, each with what the one before it left",
            got=f"{stage}: {got}",
            fix=f"start the run again: python jobs/pipeline.py CONFIG run_id={name}",
        )
