"""The stage simulate_logs.

Reads:
    Only the config. Without a section ``simulation`` the stage does nothing, since a log exists.

Writes:
    Raw files in ``simulation.path``, and the table ``truth``, which only benchmarks may read.

Refuses:
    Settings that are out of range, and settings that a world cannot have; and a folder
    ``simulation.path`` with files that are no simulated log, which would be lost.
"""

from typing import Any

from reweight.config import Run
from reweight.core.persisted import persisted
from reweight.core.run import leaves
from reweight.core.tables import TRUTH
from reweight.simulate_logs import raw_files, simulation


def raw_files_written(run: Run) -> dict[str, str | None]:
    """The raw files, which a run with another seed may replace."""
    section = run.config.simulation
    return {} if section is None else {"raw files": raw_files.written(run.spark, section.path)}


@leaves(raw_files_written)
def simulate_logs(run: Run) -> dict[str, Any]:
    """Writes a simulated log as raw files, and its truth as a table that only benchmarks read."""
    section = run.config.simulation
    if section is None:
        return {"skipped": "the config has no section `simulation`: the log already exists"}
    seed = run.config.seed
    raw_files.check_replaced(run.spark, section.path)
    with (
        persisted(simulation.impressions(run.spark, section, seed)) as shown,
        persisted(raw_files.with_dirt(raw_files.events(shown, section), section, seed)) as lines,
    ):
        raw_files.write_raw(lines, section)
        # Small: kinds of events times kinds of faults.
        counts = lines.groupBy("fault", "event_type").count().collect()
        run.store.write(TRUTH, simulation.truth(shown))
    planted: dict[str, int] = {}
    for row in counts:
        if row["fault"]:
            planted[row["fault"]] = planted.get(row["fault"], 0) + row["count"]
    kinds = {row["event_type"]: row["count"] for row in counts if row["fault"] is None}
    total = sum(row["count"] for row in counts)
    return {"raw lines": total, "events": kinds, "planted": planted, "path": section.path}
