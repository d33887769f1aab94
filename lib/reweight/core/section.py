"""What every config section is built from: a frozen base class and types for its values."""

import os
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
)


class Section(BaseModel):
    """A part of a run's config: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def refuse_unused(self, where: str, *names: str) -> None:
        """Refuses settings that are not their defaults and have no effect.

        Args:
            where: the setting because of which they have none.
            *names: names of the settings.

        Raises:
            ValueError: some are set.
        """
        defaults = {name: type(self).model_fields[name].default for name in names}
        if unused := [name for name in names if getattr(self, name) != defaults[name]]:
            raise ValueError(f"{unused} have no effect with {where}; remove them")


def _as_text(value: object) -> object:
    """Numbers and booleans of YAML as text, as Spark's casts write them."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


# A text, which YAML may have read as a number or a boolean.
Text = Annotated[str, BeforeValidator(_as_text)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]

# A name that goes into SQL or a path: validated here so that nothing else has to quote it.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


def repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, compared as Spark does: case does not count."""
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(name.lower(), []).append(name)
    return sorted({n for variants in spellings.values() if len(variants) > 1 for n in variants})


def _differ(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := repeated(names):
        raise ValueError(f"expected each column once (Spark ignores case); got {twice} again")
    return names


# Widths of the hidden layers of a network; empty for none.
Widths = tuple[Annotated[int, Field(ge=1)], ...]

# A list of columns.
Names = Annotated[tuple[Name, ...], AfterValidator(_differ)]

# Names that a column or a folder beside those of the methods has. A test keeps the list complete.
_TAKEN = frozenset(
    {
        *("run_id", "method", "sample_id", "group_id", "event_time", "label", "label_time"),
        *("undo_time", "mature", "elapsed", "delay", "undone", "split", "target", "segment"),
        *("position", "propensity", "value", "features", "ids", "importance", "weight"),
        *("in_sample", "probability", "kept", "design_weight", "sequence_ids", "sequence_gaps"),
        *("ranker", "vector", "rows", "name", "errors", "ranks", "truth", "uniform_recalibrated"),
    }
)


def _free(name: str) -> str:
    if name.lower() in _TAKEN or name.startswith("_"):
        raise ValueError(
            f"'{name}' is reserved: tables and folders have columns and files of this name beside "
            f"those of the methods; write another name, such as name: {name.strip('_')}_weights"
        )
    return name


# The name of a method's columns and folder.
MethodName = Annotated[Name, AfterValidator(_free)]

RunId = Annotated[Text, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


def expanded(path: str) -> str:
    """The path with ``~`` and ``$VARIABLE`` replaced, as a shell does.

    Raises:
        ValueError: a variable is not set.
    """
    path = os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111 (globs are no paths)
    if unset := re.search(r"\$(\w+|\{\w+\})", path):
        raise ValueError(f"the environment variable {unset[1].strip('{}')} is not set")
    return path


# A path, glob or address, in which `~` and `$VARIABLE` are replaced.
Place = Annotated[str, AfterValidator(expanded)]


def _mounted(folder: str) -> str:
    """Refuses addresses: as paths of plain files they would be a local folder on each machine."""
    if re.match(r"\w[\w+.-]+:", folder):
        raise ValueError(
            "expected a path that all machines see mounted, such as /shared or /Volumes/..., "
            "not an address (hdfs:, s3a:, dbfs:, file:)"
        )
    return folder


# Every process also reads and writes plain files there.
Folder = Annotated[Place, StringConstraints(min_length=1), AfterValidator(_mounted)]

_PART = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,254}"
# A schema of a catalog (`reweight`, `main.reweight`), and a table with or without its schema.
SchemaName = Annotated[str, StringConstraints(pattern=rf"^{_PART}(\.{_PART})?$")]
TableName = Annotated[str, StringConstraints(pattern=rf"^{_PART}(\.{_PART}){{0,2}}$")]


def quoted(*parts: str) -> str:
    """A quoted SQL name, whatever its parts contain."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


# A Spark SQL expression, written by the owner of the config and run with the rights of the job.
Sql = Annotated[Text, StringConstraints(min_length=1)]

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
# Context of the validation of what a user wrote, where a length of time needs a unit.
WRITTEN = {"written": True}


def _seconds(value: object, info: ValidationInfo) -> object:
    units = ", ".join(_UNITS)
    if isinstance(value, int | float) and info.context == WRITTEN and info.mode == "python":
        raise ValueError(
            f"expected a number and a unit ({units}); write '{value} days', or '{value} seconds'"
        )
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*([a-z]+?)s?\s*", value)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"expected a number and a unit ({units}), such as '3 days'; got '{value}'")
    return int(match[1]) * _UNITS[match[2]]


def in_units(seconds: int | str) -> str:
    """A length of time as a config gives it, in the largest unit that fits."""
    if isinstance(seconds, str):
        return seconds  # of a union with texts, such as `all`
    unit = next(u for u, size in reversed(_UNITS.items()) if seconds % size == 0)
    number = seconds // _UNITS[unit]
    return f"{number} {unit}{'' if number == 1 else 's'}"


# A length of time in whole seconds, given with its unit: "3 days", "12 hours". Stored likewise, so
# that what was stored can be read again.
Seconds = Annotated[
    int,
    BeforeValidator(_seconds),
    Field(gt=0),
    PlainSerializer(in_units, return_type=str, when_used="json"),
]
