"""Raw names -> names of event columns that a config accepts."""

import re
from collections.abc import Iterable

from reweight.build_samples.sampling import KEEP_TYPES, RESERVED

# Words that SQL reads as something else than a column, and YAML some of them as no text.
WORDS = {
    *("null", "true", "false", "case", "not", "exists", "interval", "cast", "current_date"),
    *("current_time", "current_timestamp", "current_user", "distinct", "all", "struct", "array"),
}
# Names that tables or readers have themselves; `sampling` can keep those of KEPT.
_TAKEN = {*RESERVED, "run_id", "event_time", "source", "source_file", *WORDS}
KEPT = tuple(KEEP_TYPES)


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
