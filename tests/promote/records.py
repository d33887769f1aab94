"""The records that a pipeline leaves of a run, as far as promote reads them."""

from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.promote.judged_runs import JUDGED_BY


def write_records(folder: RunFolder, attempt: int = 1) -> None:
    """Records of the stages, done one after the other.

    Args:
        folder: the run.
        attempt: counts how often the run was made; each leaves other keys.
    """
    before = ""
    for stage in JUDGED_BY:
        key = f"{folder.path.name}_{stage}{attempt}"
        record = {"stage": stage, "status": "done", "started": "2026-01-05"}
        write_json(folder.record(stage), record | {"before": before, "key": key})
        before = key
