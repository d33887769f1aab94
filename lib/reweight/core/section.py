"""What every config section is made of: the frozen base class and the types of its values."""

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)


class Section(BaseModel):
    """A part of a run's config: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


# A name that reaches SQL or a path: checked here so that nothing else has to quote it.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


def _text(value: object) -> object:
    """A name that YAML made a number of is lost: 2026_11_25 is 20261125 there, and 0101 is 65."""
    if isinstance(value, int | float):
        raise ValueError("expected text, which this is not in YAML: quote it, as '20260131'")
    return value


RunId = Annotated[
    str, BeforeValidator(_text), StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
]


def _mounted(folder: str) -> str:
    """To a path of plain files an address is the name of a folder: of each machine its own."""
    if re.match(r"\w[\w+.-]+:", folder):
        raise ValueError(
            "expected a path that all machines see mounted, as /shared or /Volumes/...; "
            "an address (hdfs:, s3a:, dbfs:, file:) is none"
        )
    return folder


# What is read and written there are also plain files, by every process.
Folder = Annotated[str, AfterValidator(_mounted)]

_PART = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,254}"
# A schema (`reweight`, `main.reweight`), and a table with or without it, of a catalog.
SchemaName = Annotated[str, StringConstraints(pattern=rf"^{_PART}(\.{_PART})?$")]
TableName = Annotated[str, StringConstraints(pattern=rf"^{_PART}(\.{_PART}){{0,2}}$")]


def quoted(*parts: str) -> str:
    """A name as SQL takes it, whatever is in its parts."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


# A Spark SQL expression, written by the owner of the config and run with the rights of the job.
Sql = Annotated[str, StringConstraints(min_length=1)]

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+)\s*([a-z]+?)s?\s*", value)
    if found is None or found[2] not in _UNITS:
        units = ", ".join(_UNITS)
        raise ValueError(f"expected a number and a unit ({units}), as '3 days'; got '{value}'")
    return int(found[1]) * _UNITS[found[2]]


# A length of time in whole seconds; "3 days" and "12 hours" are understood.
Seconds = Annotated[int, BeforeValidator(_seconds), Field(gt=0)]
