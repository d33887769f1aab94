"""The settings that every job has, whatever it does."""

import json
from typing import Any, ClassVar

from reweight.core.digest import digest
from reweight.core.section import Folder, Place, RunId, SchemaName, Section, Text
from reweight.core.tracking.section import Tracking


class JobConfig(Section):
    """The settings that every job has.

    Attributes:
        run_id: names the run's rows in every table and its folder.
        root: folder of the tables and of the runs' folders; on a cluster a shared path, on
            Databricks a path in a volume (``/Volumes/...``). In paths, ``~`` and ``$NAME`` are
            replaced as in a shell.
        catalog: ``schema`` or ``catalog.schema`` that holds the tables instead of ``root``.
        data_dir: for interpolation (``${data_dir}``).
        spark: Spark settings for a session that the job starts itself.
        tracking: experiment trackers that the run is logged to.
        example: a complete config of this kind, named in error messages.
        elsewhere: keys that no result depends on, in the form of pydantic's ``exclude``.
    """

    example: ClassVar[str] = "conf/demo.yaml"
    elsewhere: ClassVar[Any] = dict.fromkeys(
        ("run_id", "root", "catalog", "spark", "tracking"), True
    )

    run_id: RunId
    root: Folder
    catalog: SchemaName | None = None
    data_dir: Place | None = None
    spark: dict[str, Text] = {}
    tracking: Tracking = Tracking()

    def hash(self) -> str:
        """Hash of the config: equal for runs that compute the same results."""
        return digest(self.model_dump_json(exclude=self.elsewhere))

    def settings(self) -> dict[str, str]:
        """Name -> a hash of the value, of each setting that results depend on."""
        values = self.model_dump(mode="json", exclude=self.elsewhere)
        # In the order of the file, which is that of features and methods.
        return {name: digest(json.dumps(value)) for name, value in values.items()}

    def kept(self) -> dict[str, Any]:
        """The part that may be stored: Spark settings and server addresses can contain secrets."""
        return self.model_dump(mode="json", by_alias=True, exclude={"spark", "tracking"})
