"""Raw names -> names of event columns that a config accepts."""

import re
from collections.abc import Iterable

# Names that tables have themselves; see `sampling` for those that it can keep.
_TAKEN = {
    *("run_id", "event_time", "label_time", "mature", "elapsed", "delay", "sample_id", "group_id"),
    *("split", "target", "features", "ids", "source", "source_file"),
}
KEPT = ("position", "propensity", "value")


def event_names(raw: Iterable[str]) -> list[str]:
    """A free name for each raw column, in lower case with underscores."""
    names: list[str] = []
    for name in raw:
        spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
        plain = "_".join(re.findall(r"[a-z0-9]+", spaced.lower()))[:50] or "column"
        if plain in _TAKEN or not plain[0].isalpha():
            plain = f"log_{plain}"
        number, free = 2, plain
        while free in names:
            number, free = number + 1, f"{plain}_{number}"
        names.append(free)
    return names
