"""Samples -> how much each row counts as a positive and as a negative, by judge."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.columns import design_weight
from reweight.core.errors import ConfigError, EvaluationError
from reweight.core.expressions import check_expressions
from reweight.core.kept import with_kept
from reweight.core.left_out import Named, left_out, without
from reweight.core.run_folder import ModelsFolder, RunFolder
from reweight.core.store import Store
from reweight.core.tables import SAMPLES, TRUTH
from reweight.evaluate.judges import Judge, Known

_HELD_OUT = "split IN ('validation', 'test')"
# Beside the columns of samples, which a judge may use.
_TRUTH = ("wanted", "would_buy", "seen", "bot", "relevance")
_Judges = Mapping[str, Judge]
# Shares of the positive mass that a clip takes: beyond the first it is said, beyond the second the
# judge is left out. In a log of a million samples with 51 % it called the best weights worse.
SAID_CLIPPED, MOST_CLIPPED = 0.01, 0.25


def known_of(
    folder: RunFolder, models: ModelsFolder, methods: Sequence[Named], *, simulated: bool
) -> Known:
    """What judges may know of a run.

    Args:
        folder: of the run.
        models: folder of its models, or of those that it uses.
        methods: its methods; those without a fit of this run estimate nothing.
        simulated: whether its log is simulated.
    """
    fitted = without(methods, left_out(folder, before="score_weights"))
    paths = {method.name: models.propensities(method.name) for method in fitted}
    estimated = {n: json.loads(path.read_text()) for n, path in paths.items() if path.exists()}
    return Known(estimated, simulated=simulated)


def check_judges(
    spark: SparkSession, judges: _Judges, keep: Mapping[str, str], known: Known
) -> None:
    """Checks what the config alone shows of the judges, before any work is done.

    Args:
        spark: the session, which analyses the expressions.
        judges: name -> judge.
        keep: the section ``sampling.keep``.
        known: what will be known when the judges judge; propensities by name.

    Raises:
        ConfigError: a judge cannot judge in this run.
        SourceError: expressions do not parse or use columns that samples do not have.
    """
    for name, judge in judges.items():
        if reason := judge.unusable(known):
            raise ConfigError(
                f"the judge '{name}' cannot judge this run",
                expected="a judge that the run can ask",
                got=reason,
                fix=f"change evaluation.judges.{name}, or remove it",
            )
    reads_truth = any(judge.reads_truth for judge in judges.values())
    if taken := [n for n in keep if reads_truth and n.lower() in _TRUTH]:
        raise ConfigError(
            "columns of sampling.keep have the names of what a simulation knows",
            expected=f"other names than {list(_TRUTH)} beside a judge that reads the truth",
            got=str(taken),
            fix=f"rename them, such as sampling: {{keep: {{{taken[0]}_kept: COLUMN}}}}",
        )
    columns = SAMPLES.columns()
    assert columns is not None
    frame = spark.createDataFrame([], columns)
    # Null has no type of its own, so it fits whatever the expression expects.
    frame = frame.select("*", *[F.lit(None).alias(n) for n in keep if n not in frame.columns])
    for reads_truth in (False, True):
        chosen = {n: j for n, j in judges.items() if j.reads_truth == reads_truth}
        expressions = {
            f"evaluation.judges.{name}.{key}": sql
            for name, judge in chosen.items()
            for key, sql in judge.expressions().items()
        }
        if reads_truth:
            frame = frame.withColumns({n: F.lit(None) for n in _TRUTH})
        check_expressions(
            frame,
            expressions,
            of="the samples",
            fix="correct them, or add the columns: sampling: {keep: {rating: rating}}",
        )


def check_judged(
    store: Store, types: Mapping[str, str], judges: _Judges, positives: int
) -> dict[str, dict[str, Any]]:
    """Checks in one pass over the held-out samples that each judge has rows to judge.

    Args:
        store: the tables.
        types: name -> type of the kept columns.
        judges: name -> judge; propensities that a model has yet to estimate are not checked.
        positives: effective number of positives below which a judge gives no verdict.

    Returns:
        Judge -> ``rows`` and ``positives`` of the test split, and the ``note`` of one with few.

    Raises:
        EvaluationError: a judge has no rows, one class, or values out of range.
    """
    parts = [_facts(name, judge) for name, judge in judges.items()]
    frame = judged_samples(store, types, judges)
    # Small by nature: two rows, one per split.
    rows = frame.groupBy("split").agg(*[fact for part in parts for fact in part]).collect()
    found: dict[str, dict[str, Any]] = {}
    for name in judges:
        sums = {row["split"]: {k: row[f"{name}.{k}"] or 0 for k in _FACTS} for row in rows}
        for split in ("validation", "test"):
            _check(name, split, sums.get(split, dict.fromkeys(_FACTS, 0)))
        found[name] = {"rows": sums["test"]["rows"], "positives": sums["test"]["one"]}
        few = min(sums[split][label] for split in sums for label in ("one", "zero"))
        if few < positives:
            found[name]["note"] = f"too few rows of a label for a verdict: {few}"
    return found


def judged_samples(store: Store, types: Mapping[str, str], judges: _Judges) -> DataFrame:
    """The held-out samples with all columns that judges may use."""
    samples = store.read(SAMPLES).where(_HELD_OUT).transform(with_kept, types)
    if any(judge.reads_truth for judge in judges.values()):
        identity = F.xxhash64("impression_id").alias("sample_id")
        truth = store.read(TRUTH).select(identity, *_TRUTH)
        samples = samples.join(truth, on="sample_id", how="left")
    return samples


def with_masses(
    predictions: DataFrame, samples: DataFrame, judges: _Judges, known: Known
) -> DataFrame:
    """Predictions by judge, with the masses ``positive`` and ``negative`` of each row.

    Args:
        predictions: rows of the table ``predictions``.
        samples: the output of ``judged_samples``.
        judges: name -> judge.
        known: what judges may know besides.
    """
    counts = design_weight(samples)
    structs = [_masses(name, judge, known, counts) for name, judge in judges.items()]
    masses = F.filter(F.array(*structs), lambda row: row["positive"].isNotNull())
    # Among the columns already where the predictions are those of samples themselves.
    mine = predictions.drop("design_weight")
    wide = samples.select("sample_id", masses.alias("_masses"), counts.alias("design_weight"))
    joined = mine.join(wide, on="sample_id", how="inner")
    return joined.select(*mine.columns, "design_weight", F.inline("_masses"))


@dataclass(frozen=True)
class Fitted:
    """Judges that are ready to judge.

    Attributes:
        judges: name -> judge.
        notes: what the page must say of some of them.
        left_out: name -> why a judge cannot judge.
    """

    judges: dict[str, Judge]
    notes: dict[str, str]
    left_out: dict[str, str]


def fitted(store: Store, types: Mapping[str, str], judges: _Judges, known: Known) -> Fitted:
    """Fits judges to their validation rows, and measures what their clips take.

    Args:
        store: the tables.
        types: name -> type of the kept columns.
        judges: name -> judge, each of which has rows.
        known: what judges may know besides.
    """
    clipping = {n: j for n, j in judges.items() if j.unclipped(known) != j.factor(known)}
    if not clipping:
        return Fitted(dict(judges), {}, {})
    # Only their own columns: without the truth, which others read.
    samples = judged_samples(store, types, clipping)
    counts = design_weight(samples)
    validation = F.col("split") == "validation"
    positives = {n: F.sum(F.when(validation, _positives(j))) for n, j in clipping.items()}
    found = _sums(samples, positives)
    clipping = {name: judge.fitted(found[name]) for name, judge in clipping.items()}
    masses = {
        (name, which): F.sum(_positive(judge, factor, counts))
        for name, judge in clipping.items()
        for which, factor in (("kept", judge.factor(known)), ("all", judge.unclipped(known)))
    }
    sums = _sums(samples, masses)
    taken = {n: share_clipped(sums[n, "kept"], sums[n, "all"]) for n in clipping}
    left_out = {n: said_of_clip(s) for n, s in taken.items() if s > MOST_CLIPPED}
    notes = {n: said_of_clip(s) for n, s in taken.items() if SAID_CLIPPED < s <= MOST_CLIPPED}
    ready = {n: clipping.get(n, judge) for n, judge in judges.items() if n not in left_out}
    return Fitted(ready, notes, left_out)


def share_clipped(kept: float, whole: float) -> float:
    """The share of the positive mass that a clip takes."""
    return 1 - kept / whole if whole else 0.0


def said_of_clip(share: float) -> str:
    """What to say of a judge whose clip takes this share of the positive mass."""
    taken = f"its clip takes {share:.0%} of the positive mass, a bias that intervals do not show"
    return f"{taken}; raise `clip`" if share > MOST_CLIPPED else taken


def _sums(frame: DataFrame, sums: Mapping[Any, Column]) -> dict[Any, float]:
    """Sums over all rows by their keys, in one pass; 0 where there is no row."""
    row: Any = frame.agg(*[F.coalesce(column, F.lit(0.0)) for column in sums.values()]).first()
    return dict(zip(sums, row, strict=True))


def _masses(name: str, judge: Judge, known: Known, often: Column) -> Column:
    """The struct of a row, which counts so often; its masses are null where it does not count."""
    _, weight, _ = _parts(judge)
    positive = _positive(judge, judge.factor(known), often)
    return F.struct(
        F.lit(name).alias("judge"),
        positive.alias("positive"),
        (weight * often - positive).alias("negative"),
    )


def _positive(judge: Judge, factor: str, often: Column) -> Column:
    """The positive mass of a row, which counts so often, with a factor; null if it does not."""
    label, weight, counts = _parts(judge)
    multiplied = F.when(label > 0, F.expr(factor).cast("double")).otherwise(1.0)
    return F.when(counts, weight * often * label * multiplied)


def _positives(judge: Judge) -> Column:
    """The label of a row that counts; null if it does not."""
    label, _, counts = _parts(judge)
    return F.when(counts, label)


def _parts(judge: Judge) -> tuple[Column, Column, Column]:
    """Label and weight of a row, and whether it counts."""
    sql = judge.expressions()
    label, weight = (F.expr(sql[key]).cast("double") for key in ("label", "weight"))
    where = F.coalesce(F.expr(sql["where"]).cast("boolean"), F.lit(False))
    return label, weight, where & label.isNotNull()


_FACTS = ("rows", "one", "zero", "label", "weight", "propensity")


def _facts(name: str, judge: Judge) -> list[Column]:
    """Aggregates: rows that count, by label, and those with values out of range."""
    label, weight, counts = _parts(judge)
    wrong_weight = weight.isNull() | F.isnan(weight) | (weight < 0) | (weight == float("inf"))
    theta = judge.expressions().get("propensity", "1.0")
    propensity = F.expr(theta).cast("double")
    outside = F.coalesce(~((propensity > 0) & (propensity <= 1)), F.lit(True))
    conditions = {
        "rows": counts,
        "one": counts & (label > 0.5),
        "zero": counts & (label <= 0.5),
        "label": counts & ~((label >= 0) & (label <= 1)),
        "weight": counts & wrong_weight,
        "propensity": counts & outside,
    }
    return [F.count(F.when(c, 1)).alias(f"{name}.{key}") for key, c in conditions.items()]


_WANTED = {
    "label": "labels from 0 to 1, or null where there is none",
    "weight": "row weights that are finite and 0 or more",
    "propensity": "propensities above 0 and at most 1",
}


def _check(name: str, split: str, sums: Mapping[str, int]) -> None:
    at = f"evaluation.judges.{name}"
    for key, wanted in _WANTED.items():
        if sums[key]:
            raise EvaluationError(
                f"the judge '{name}' has values out of range",
                expected=wanted,
                got=f"{sums[key]} of {sums['rows']} {split} rows with another `{key}`",
                fix=f"correct {at}.{key}, or leave the rows out by {at}.where",
            )
    if not sums["rows"]:
        raise EvaluationError(
            f"the judge '{name}' has no rows in {split}",
            expected="rows of validation and of test; a judge never reads training rows",
            got="no row that meets its `where` and has a label",
            fix=f"change {at}.where, or remove the judge",
        )
    if not (sums["one"] and sums["zero"]):
        raise EvaluationError(
            f"the judge '{name}' has only one class in {split}",
            expected="labels 0 and 1",
            got=f"{sums['one']} rows with label 1 and {sums['zero']} with label 0",
            fix=f"change {at}.where or {at}.label, or remove the judge",
        )
