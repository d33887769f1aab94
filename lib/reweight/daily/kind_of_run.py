"""A run is made by the pipeline or day by day: one would overwrite what the other goes on from."""

from collections.abc import Iterable

from reweight.core.errors import RunError
from reweight.core.run_folder import RunFolder
from reweight.core.tables import EVENTS, SAMPLES, WEIGHTS

# The stages that make the tables to which days add.
_OF_THE_PIPELINE = tuple(table.made_by for table in (EVENTS, SAMPLES, WEIGHTS))


def check_not_whole(folder: RunFolder) -> None:
    """Checks that no stage of the pipeline has made tables of a run that is to begin with days.

    Args:
        folder: of the run.

    Raises:
        RunError: one has.
    """
    if made := [stage for stage in _OF_THE_PIPELINE if folder.record(stage).exists()]:
        raise RunError(
            f"run '{folder.path.name}' has been made by the pipeline",
            expected="a new run: its days would be mixed with the rows that are there",
            got=f"records of {', '.join(made)}",
            fix="give the days another run_id, such as run_id="
            f"{folder.path.name[:57]}_daily; nothing was changed",
        )


def check_not_of_days(folder: RunFolder, stages: Iterable[str]) -> None:
    """Checks that stages do not overwrite a run of days with one over the whole log.

    Args:
        folder: of the run.
        stages: names of the stages that are to be run.

    Raises:
        RunError: some would.
    """
    overwriting = [stage for stage in stages if stage in _OF_THE_PIPELINE]
    if overwriting and any(folder.days.glob("*.json")):
        raise RunError(
            f"run '{folder.path.name}' has been made day by day",
            expected="python jobs/daily.py CONFIG --day DAY, or another run_id for the pipeline",
            got=f"the stage {overwriting[0]}, which would replace the rows of all days",
            fix=f"add run_id={folder.path.name[:57]}_whole to the command; nothing was changed",
        )
