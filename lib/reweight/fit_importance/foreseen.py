"""What the config alone shows of the methods: they are refused before the first stage."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reweight.build_samples.features import Features
from reweight.build_samples.hashed_ids import Categorical
from reweight.build_samples.negatives import were_sampled
from reweight.build_samples.sampling import Sampling
from reweight.build_samples.splits import Splits
from reweight.clean_logs.section import Cleaning
from reweight.core.errors import ConfigError
from reweight.core.left_out import Refusals, refuse_combinations
from reweight.fit_importance.preconditions import check_bins
from reweight.importance.base import ImportanceMethod
from reweight.importance.position_bias import PositionMethod

_KEPT = {
    "position": "the position of the row in its list, counted from 1",
    "propensity": "the probability that the row was looked at, in (0, 1]",
    "value": "the value of a positive row, such as price * quantity",
}
_UNTIMED = "a log without times (cleaning.times: false)"


@dataclass(frozen=True)
class Sections:
    """The sections of a run's config that decide what methods can read."""

    cleaning: Cleaning
    sampling: Sampling
    splits: Splits
    features: Features

    @property
    def has_segments(self) -> bool:
        """Whether the samples have segments."""
        return bool(self.sampling.segment != Sampling.model_fields["segment"].default)


def check_foreseen(
    methods: Sequence[ImportanceMethod], sections: Sections, refusals: Refusals
) -> None:
    """Refuses methods that cannot be fitted whatever the log holds.

    Args:
        methods: the methods of the run.
        sections: of the run's config.
        refusals: receives the methods.

    Raises:
        TrainingError: methods need different numbers of bins.
    """
    for method in methods:
        for error in _foreseen(method, sections):
            refusals.add(method.name, error)
    refuse_combinations(methods, refusals)
    left = refusals.remaining(methods)
    check_bins({t.quantile_bins for m in left if (t := m.learns())} - {0})


def _foreseen(method: ImportanceMethod, sections: Sections) -> Iterator[ConfigError]:
    columns, splits, label = method.columns(), sections.splits, sections.sampling.label
    for name in columns:
        if name in _KEPT and name not in sections.sampling.keep:
            yield _lacks(
                method,
                f"sampling.keep.{name}: {_KEPT[name]}",
                "nothing",
                f"write sampling: {{keep: {{{name}: COLUMN}}}}",
            )
    if method.needs_all_negatives and were_sampled(sections.sampling):
        yield _lacks(
            method,
            "all negatives of the log: it learns how often a row is positive",
            f"sampling.negatives: {sections.sampling.negatives}",
            _with_sampled_negatives(method),
        )
    if "segment" in columns and not sections.has_segments:
        yield _lacks(
            method,
            "sampling.segment: an expression with few values",
            "nothing",
            "write sampling: {segment: COLUMN}, such as a user group or a country",
        )
    if "target" in columns and splits.target == 1 and splits.target_where is None:
        yield _lacks(
            method,
            "target rows that are not all training rows",
            "splits.target: 1",
            "set splits.target below 1, or splits.target_where to a condition",
        )
    if method.reads_sequence and sections.features.sequence is None:
        yield _lacks(
            method,
            "features.sequence: the last events before a sample, whose order its network reads",
            "nothing",
            f"write features: {{sequence: {_sequence(sections)}}}, or network: mlp",
        )
    timed = sections.cleaning.times
    if "target" in columns and not timed and splits.target_where is None:
        yield _lacks(
            method,
            "target rows: the newest ones, or those that meet a condition",
            _UNTIMED,
            "set splits.target_where to a condition, such as country = 'de'",
        )
    if "delay" in columns and not timed:
        yield _lacks(
            method,
            "label events that arrive within a window",
            _UNTIMED,
            "use self_training or mature_only",
        )
    by_label = {"mature", "delay"} & set(columns)
    if by_label and "train" not in (splits.open_windows, splits.unlabelled):
        yield _lacks(
            method,
            "training rows whose label is not settled",
            "none by splits.open_windows and splits.unlabelled",
            "set splits to {by: time, open_windows: train} if labels arrive late, or to "
            "{unlabelled: train} if some rows have none"
            if timed
            else "set splits to {unlabelled: train} if some rows have no label",
        )
    if "delay" in columns and timed and label.where is None:
        yield _lacks(
            method,
            "label events that arrive within a window",
            "a label that is a column of its row",
            "set sampling.label.where and sampling.label.window, or use self_training or "
            "mature_only",
        )
    if "undone" in columns and label.where is not None and label.undo is None:
        yield _lacks(
            method,
            "sampling.label.undo: the event that takes a label back",
            "nothing",
            "write it, such as undo: {where: event_type = 'refund', window: 14 days}, or "
            "training.undo: false",
        )
    if label.where is not None and splits.open_windows == "train":
        yield from _of_windows(method, label.window)
    if isinstance(method, PositionMethod) and "position" in columns:
        yield from _absorbs_position(method, list(features_of_position(sections)))


def _with_sampled_negatives(method: ImportanceMethod) -> str:
    """What can be learnt without negatives that were left out."""
    if isinstance(method, PositionMethod):
        return (
            "where propensities are known, write {method: ipw_position, estimator: ips, training: "
            "{propensity: column}}"
        )
    return "write {method: mature_only}, which only drops rows"


def _sequence(sections: Sections) -> str:
    """A section that fits the config, as YAML."""
    group = sections.sampling.group or ""
    key = group if re.fullmatch(r"\w+", group) else "COLUMN"
    fields = sections.features.categorical or {"NAME": Categorical(value="COLUMN")}
    name, field = next(iter(fields.items()))
    item = f"{name}: {{value: {field.value}, buckets: {field.buckets}}}"
    return f"{{keys: [{key}], length: 20, fields: {{{item}}}}}"


def _of_windows(method: ImportanceMethod, window: int | None) -> Iterator[ConfigError]:
    """What methods for late labels need of the label window."""
    columns = method.columns()
    by_delay = "delay" in columns
    if window is None and "mature" in columns:
        yield _lacks(
            method,
            "rows whose label window closes before the cut",
            "sampling.label without a window: a label may arrive until the log ends",
            "write training: {delays: weibull}, which needs no such rows"
            if by_delay
            else "set sampling.label.window, or use delayed_feedback with training: "
            "{delays: weibull}",
        )
    if window is not None and by_delay and "mature" not in columns:
        yield _lacks(
            method,
            "labels that may arrive until the log ends",
            "a label window, after which a row is settled",
            "write training: {delays: settled}, or remove sampling.label.window",
        )


def _absorbs_position(method: ImportanceMethod, following: list[str]) -> Iterator[ConfigError]:
    if following:
        yield ConfigError(
            f"'{method.name}' cannot tell position bias from relevance",
            expected="features that do not reveal the position of a row",
            got=f"{len(following)} feature(s) that follow from it: {'; '.join(following)}",
            fix="leave them out of the section features; sampling.keep.position is enough",
        )


def _lacks(method: ImportanceMethod, expected: str, got: str, fix: str) -> ConfigError:
    return ConfigError(
        f"'{method.name}' lacks what it needs in the config",
        expected=expected,
        got=got,
        fix=f"{fix}; or leave the method out",
    )


def features_of_position(sections: Sections) -> Iterator[str]:
    """The features whose expressions are functions of the kept position, with the expressions."""
    column = _same_order(sections.sampling.keep.get("position", ""))
    if column is None:
        return
    cleaning = sections.cleaning
    # In each source; columns of their own can make the difference.
    of_source = set.intersection(
        *[_of_same_source(cleaning.columns_of(name), column) for name in cleaning.sources]
    )
    features = sections.features
    expressions = {
        **{f"features.numeric.{name}": sql for name, sql in features.numeric.items()},
        **{f"features.one_hot.{name}": part.value for name, part in features.one_hot.items()},
        **{f"features.categorical.{k}": part.value for k, part in features.categorical.items()},
    }
    for name, sql in expressions.items():
        used = _columns(sql)
        if used and used <= of_source | {column}:
            yield f"{name}: {sql}"


def _of_same_source(columns: Mapping[str, str], column: str) -> set[str]:
    """The event columns that are made of the one raw column that this event column is."""
    source = _same_order(columns.get(column, ""))
    return {
        name.lower()
        for name, sql in columns.items()
        if source is not None and _columns(sql) == {source}
    }


# What Spark SQL allows to stand without parentheses and is no column.
_WORDS = """
and as asc between case cast day days desc distinct div else end exists false for from hour hours
ilike in interval is like minute minutes month months not null or over partition rlike second
seconds then true when year years tinyint smallint int integer bigint long float real double decimal
numeric string varchar char boolean date timestamp binary
"""
_KEYWORDS = frozenset(_WORDS.split())
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_NAME = re.compile(r"(?<![\w.`])(?:`([^`]+)`|([A-Za-z_]\w*))(?!\w)(?!\s*\()")
_WRAPPED = (
    r"\((.*)\)",
    r"(?:try_)?cast\((.*) as \w+\)",
    r"(?:tinyint|smallint|int|bigint|float|double|string)\((.*)\)",
    r"(.*\S)\s*[+-]\s*[\d.]+",
    r"[\d.]+\s*\+\s*(.*)",
)


def _columns(sql: str) -> set[str]:
    """Names of the columns that an expression uses, in lower case."""
    found = _NAME.finditer(_TEXT.sub("''", sql))
    quoted_or_plain = [(m[1], m[2]) for m in found]
    return {
        (quoted or plain).lower()
        for quoted, plain in quoted_or_plain
        if quoted or plain.lower() not in _KEYWORDS
    }


def _same_order(sql: str) -> str | None:
    """The one column that an expression is, up to casts and an added number; None if it is more."""
    text = sql.strip()
    while not (whole := re.fullmatch(r"`([^`]+)`|([A-Za-z_]\w*)", text)):
        inner = (re.fullmatch(p, text, re.IGNORECASE | re.DOTALL) for p in _WRAPPED)
        if (match := next((m for m in inner if m), None)) is None:
            return None
        text = match[1].strip()
    return (whole[1] or whole[2]).lower()
