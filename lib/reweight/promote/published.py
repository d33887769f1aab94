"""The live weights as rows: a view where the tables are in a catalog, and a frame everywhere."""

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.errors import TableError
from reweight.core.run import JobRun
from reweight.core.run_folder import RunFolder
from reweight.core.store import Store
from reweight.core.tables import PROMOTIONS, WEIGHTS
from reweight.promote.decisions import Decision, Version
from reweight.promote.judged_runs import weights_key

NAME = "published_weights"


def read_history(store: Store) -> list[Decision]:
    """The decisions so far, oldest first."""
    if not store.exists(PROMOTIONS):
        return []
    rows = store.read(PROMOTIONS, may_be_empty=True).drop("run_id")
    # As a number: a timestamp would be converted to the driver's own time zone.
    rows = rows.withColumn("decided_at", F.unix_micros("decided_at"))
    # Small by nature: one row per decision.
    return [Decision.of(row.asDict()) for row in rows.orderBy("number").collect()]


def published_weights(run: JobRun[Any]) -> DataFrame:
    """The live weights: ``sample_id``, ``importance``, ``weight``, ``label`` and ``method``.

    Args:
        run: the run of the decisions.

    Raises:
        TableError: no decision has been made, or the run that has the live weights has made others
            since.
    """
    store = run.store
    history = read_history(store)
    if not history:
        raise TableError(
            f"no weights of run '{store.run_id}' are live",
            expected="a decision in the table 'promotions'",
            got="none",
            fix="python jobs/promote.py CONFIG --challenger RUN",
        )
    live: Version = history[-1].live
    if not live.is_left(weights_key(RunFolder.of(run.config.root, live.run))):
        raise TableError(
            f"run '{live.run}' does not have the live weights any more",
            expected="the weights that were judged",
            got="its score_weights was run again, or is at work",
            fix=f"python jobs/promote.py CONFIG --challenger {live.run} judges the new ones; "
            "--rollback goes back to the version before",
        )
    rows = store.read(WEIGHTS, run_id=live.run).where(F.col("method") == live.method)
    return rows.select("sample_id", "importance", "weight", "label", "method")


def view(store: Store) -> str:
    """The query of the view: the same rows for every run of decisions, in ``run_id``.

    It follows the table ``promotions``, so that a decision and its going live are one commit.
    """
    newest = (
        "SELECT run_id, max_by(struct(live_run, live_model, live_method), number) AS live "  # noqa: S608
        f"FROM {store.name(PROMOTIONS)} GROUP BY run_id"
    )
    return (
        "SELECT p.run_id, w.sample_id, w.importance, w.weight, w.label, w.method, "  # noqa: S608
        "p.live.live_run, p.live.live_model "
        f"FROM {store.name(WEIGHTS)} w JOIN ({newest}) p "
        "ON w.run_id = p.live.live_run AND w.method = p.live.live_method"
    )
