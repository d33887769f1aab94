"""What a config may not use if the log has no times, checked before anything is read."""

from collections.abc import Iterator, Mapping
from typing import Any

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.build_samples.splits import Splits
from reweight.clean_logs.section import Cleaning
from reweight.core.section import Section
from reweight.core.sql_calls import words

TIME = "event_time"


def wrong_times(
    cleaning: Cleaning, sampling: Sampling, splits: Splits, features: Features
) -> Iterator[str]:
    """What needs times that the log has not; or the time that merged events have not."""
    collapse = sampling.collapse
    if cleaning.times:
        if collapse is not None and TIME not in collapse.columns:
            yield "sampling.collapse.columns: expected `event_time`, such as min(event_time)"
        return
    label, merged = sampling.label, collapse.columns if collapse else {}
    no_order = "nothing follows anything; write sampling: {label: {value: ...}}, the label of a row"
    needing = {
        "sampling.collapse.columns.event_time": (
            TIME in {name.lower() for name in merged},
            "remove it",
        ),
        "sampling.label.where": (label.where is not None, no_order),
        "sampling.label.window": (label.window is not None, "remove it"),
        "sampling.label.undo": (label.undo is not None, "remove it"),
        "sampling.label.same_time": (label.same_time != "before", "remove it"),
        "splits.by: time": (
            splits.by == "time",
            "write splits: {by: row}, or {by: group} with sampling.group",
        ),
        "splits.target": (
            splits.target != Splits.model_fields["target"].default and not splits.target_where,
            "no row is newer; name the target by splits.target_where, such as country = 'de'",
        ),
        "features.cyclic": (bool(features.cyclic), "remove it"),
        "features.history": (bool(features.history), "nothing is earlier; remove it"),
        "features.sequence": (features.sequence is not None, "nothing is earlier; remove it"),
    }
    for key, (used, instead) in needing.items():
        if used:
            yield _without(key, instead)
    expressions = {
        **_texts("cleaning.reject", cleaning.reject),
        **_texts("sampling", _set(sampling)),
        **_texts("splits.target_where", splits.target_where),
        **_texts("features", _set(features)),
    }
    for key, sql in expressions.items():
        if TIME in {word.lower().strip("`") for word in words(sql)} and key not in needing:
            yield _without(key, f"`{sql}` uses event_time")


def _without(key: str, instead: str) -> str:
    return f"{key}: the log has no times (cleaning.times: false): {instead}"


def _set(section: Section) -> Mapping[str, Any]:
    return section.model_dump(exclude_none=True)


def _texts(key: str, value: Any) -> dict[str, str]:
    """The texts in a part of the config, by their key; lists hold names, which others check."""
    if isinstance(value, str):
        return {key: value}
    if isinstance(value, Mapping):
        return {k: v for name in value for k, v in _texts(f"{key}.{name}", value[name]).items()}
    return {}
