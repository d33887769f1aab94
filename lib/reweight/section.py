"""What every config section is made of: the frozen base class and the types of its values."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


class Section(BaseModel):
    """A part of a run's config: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


# A name that reaches SQL or a path: checked here so that nothing else has to quote it.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


def _text(value: object) -> object:
    """A run named by a date is a number in YAML."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


RunId = Annotated[
    str, BeforeValidator(_text), StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
]

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
        raise ValueError(f"expected a number and a unit ({units}), as '3 days'; came '{value}'")
    return int(found[1]) * _UNITS[found[2]]


# A length of time in whole seconds; "3 days" and "12 hours" are understood.
Seconds = Annotated[int, BeforeValidator(_seconds), Field(gt=0)]
