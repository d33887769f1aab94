"""The event columns that a config names, checked before anything is read."""

from collections.abc import Iterable, Iterator, Sequence

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling, taken_names
from reweight.clean_logs.section import Cleaning


def wrong_columns(cleaning: Cleaning, sampling: Sampling, features: Features) -> list[str]:
    """What is wrong with the columns that the sections name, compared as Spark compares them."""
    return [*_of_cleaning(cleaning), *_of_samples(cleaning.stored_columns, sampling, features)]


def _of_cleaning(cleaning: Cleaning) -> Iterator[str]:
    columns = cleaning.stored_columns
    yield from _unknown("cleaning.required", cleaning.required, columns)
    yield from _unknown("cleaning.allowed", cleaning.allowed, columns)
    yield from _unknown("cleaning.ranges", cleaning.ranges, columns)
    yield from _unknown("cleaning.duplicates.keys", cleaning.duplicates.keys, columns)


def _of_samples(columns: Sequence[str], sampling: Sampling, features: Features) -> Iterator[str]:
    if sampling.collapse is not None:
        yield from _unknown("sampling.collapse.keys", sampling.collapse.keys, columns)
        columns = (*sampling.collapse.keys, *sampling.collapse.columns)
    yield from _unknown("sampling.key", sampling.key, columns)
    yield from _unknown("sampling.label.keys", sampling.label.keys, columns)
    for name, history in features.history.items():
        yield from _unknown(f"features.history.{name}.keys", history.keys, columns)
    if features.sequence is not None:
        yield from _unknown("features.sequence.keys", features.sequence.keys, columns)
    if taken := taken_names(columns, sampling):
        yield (
            f"event columns {taken}: samples have columns of these names; rename them, or write "
            "sampling: {keep: {position: position}, segment: segment}, with propensity and value "
            "in keep likewise"
        )


def _unknown(key: str, names: Iterable[str], columns: Sequence[str]) -> Iterator[str]:
    lower_columns = {column.lower() for column in columns}
    if unknown := [name for name in names if name.lower() not in lower_columns]:
        yield f"{key}: expected names out of {sorted(columns)}, got {unknown}"
