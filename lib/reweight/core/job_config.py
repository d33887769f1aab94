"""What the config of every job says, whatever the job does."""

from typing import Any, ClassVar

from reweight.core.digest import digest
from reweight.core.section import Folder, RunId, SchemaName, Section
from reweight.core.tracking.section import Tracking


class JobConfig(Section):
    """What the config of every job says.

    Attributes:
        run_id: names the run's rows in every table and its folder; one of digits alone is quoted.
        root: folder of the tables and of the runs' folders; on a cluster a shared path, on
            Databricks one of a volume (``/Volumes/...``).
        catalog: ``schema`` or ``catalog.schema`` that has the tables instead of ``root``.
        data_dir: for interpolation (``${data_dir}``).
        spark: Spark settings for a session that the job starts itself.
        tracking: experiment trackers that the run is logged to.
        example: a file that shows the whole of such a config, for messages.
        elsewhere: keys that no result depends on, as pydantic's ``exclude`` takes them.
    """

    example: ClassVar[str] = "conf/demo.yaml"
    elsewhere: ClassVar[Any] = dict.fromkeys(
        ("run_id", "root", "catalog", "spark", "tracking"), True
    )

    run_id: RunId
    root: Folder
    catalog: SchemaName | None = None
    data_dir: str | None = None
    spark: dict[str, str] = {}
    tracking: Tracking = Tracking()

    def hash(self) -> str:
        """Hash of the config: equal for runs that compute the same thing."""
        return digest(self.model_dump_json(exclude=self.elsewhere))

    def kept(self) -> dict[str, Any]:
        """What may be kept of it: Spark settings and addresses of servers can hold their keys."""
        return self.model_dump(mode="json", by_alias=True, exclude={"spark", "tracking"})
