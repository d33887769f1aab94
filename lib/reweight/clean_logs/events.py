"""The events of a run, as its config names them."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.clean_logs.section import Cleaning
from reweight.core.store import Store
from reweight.core.tables import EVENTS


def read_events(store: Store, cleaning: Cleaning, run_id: str | None = None) -> DataFrame:
    """The columns of the table ``events`` that the config names, in its spelling.

    The table also has the columns of all other runs, which must not change what this run computes.

    Args:
        store: the tables.
        cleaning: the section.
        run_id: the run; by default that of the store.

    Raises:
        TableError: there are no events of the run.
    """
    events = store.read(EVENTS, run_id)
    table_columns = {column.lower() for column in events.columns}
    names = [name for name in cleaning.stored_columns if name.lower() in table_columns]
    return events.select(*[F.col(name).alias(name) for name in names])
