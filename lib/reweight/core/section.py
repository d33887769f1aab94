"""What every config section is built from: a frozen base class and types for its values."""

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from reweight.core.errors import ConfigError


class Section(BaseModel):
    """A part of a run's config: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


# A name that goes into SQL or a path: validated here so that nothing else has to quote it.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


def _text(value: object) -> object:
    """Refuses numbers: YAML has changed the name by then, 2026_11_25 to 20261125 and 0101 to 65."""
    if isinstance(value, int | float):
        raise ValueError("expected text, which this is not in YAML; quote it, such as '20260131'")
    return value


RunId = Annotated[
    str, BeforeValidator(_text), StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
]


def _mounted(folder: str) -> str:
    """Refuses addresses: as paths of plain files they would be a local folder on each machine."""
    if re.match(r"\w[\w+.-]+:", folder):
        raise ValueError(
            "expected a path that all machines see mounted, such as /shared or /Volumes/..., "
            "not an address (hdfs:, s3a:, dbfs:, file:)"
        )
    return folder


# Every process also reads and writes plain files there.
Folder = Annotated[str, AfterValidator(_mounted)]

_PART = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,254}"
# A schema of a catalog (`reweight`, `main.reweight`), and a table with or without its schema.
SchemaName = Annotated[str, StringConstraints(pattern=rf"^{_PART}(\.{_PART})?$")]
TableName = Annotated[str, StringConstraints(pattern=rf"^{_PART}(\.{_PART}){{0,2}}$")]


def quoted(*parts: str) -> str:
    """A quoted SQL name, whatever its parts contain."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


# A Spark SQL expression, written by the owner of the config and run with the rights of the job.
Sql = Annotated[str, StringConstraints(min_length=1)]

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*([a-z]+?)s?\s*", value)
    if match is None or match[2] not in _UNITS:
        units = ", ".join(_UNITS)
        raise ValueError(f"expected a number and a unit ({units}), such as '3 days'; got '{value}'")
    return int(match[1]) * _UNITS[match[2]]


# A length of time in whole seconds; texts such as "3 days" and "12 hours" are accepted.
Seconds = Annotated[int, BeforeValidator(_seconds), Field(gt=0)]


def all_errors(what: str, expected: str, error: ValidationError) -> ConfigError:
    """All validation errors in one message.

    Args:
        what: one line that names the problem.
        expected: what would have been right.
        error: the errors that pydantic found.
    """
    lines = []
    for details in error.errors(include_url=False):
        key = ".".join(str(part) for part in details["loc"]) or "(the whole)"
        got = "" if details["type"] == "missing" else f" (got: {str(details['input'])[:80]!r})"
        lines.append(f"\n    {key}: {details['msg']}{got}")
    return ConfigError(
        what,
        expected=expected,
        got=f"{len(lines)} error(s):" + "".join(lines),
        fix="correct each key listed above; an unknown key is often a misspelt one",
    )
