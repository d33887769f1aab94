"""The stage evaluate.

Reads:
    The tables ``predictions``, ``weights`` and ``samples``; for a judge of simulated logs also
    ``truth``.

Writes:
    The table ``metrics``: by judge and ranker, values and differences to ``uniform`` on the same
    rows, with intervals; ``evaluation.json``: curves, statistics of the weights, and what each
    judge says; and ``decision.json``: which weights to ship, chosen on validation rows, for the
    first ranker and, beside it, for each other one.

Leaves out:
    Judges that need a position model which this run has not fitted, and those whose clip takes more
    than a quarter of the positive mass.

Refuses:
    Tables without rows of this run; judges whose expressions do not fit the samples, and those
    without rows, with one class, or with values out of range. These are refused before training.
"""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import read_stats
from reweight.config import Run
from reweight.core.baselines import BASELINE
from reweight.core.distribution import Distribution, distribution_by
from reweight.core.files import content_hash, write_json
from reweight.core.kept import kept_types
from reweight.core.left_out import left_out, without
from reweight.core.persisted import persisted
from reweight.core.run import leaves
from reweight.core.small_rows import frame_of
from reweight.core.tables import METRICS, PREDICTIONS, SAMPLES, WEIGHTS
from reweight.evaluate import (
    arms,
    comparison,
    judging,
    random_slice,
    reduction,
    verdict,
    weight_summary,
)
from reweight.evaluate.judges import Judge, Known, all_judges, recorded_alone
from reweight.evaluate.reduction import Reduced
from reweight.evaluate.section import Evaluation
from reweight.score_weights.rows import wide_weights


def results(run: Run) -> dict[str, str | None]:
    """The results beside the table of metrics."""
    files = (run.folder.decision, run.folder.evaluation)
    return {path.name: content_hash(path) for path in files}


@leaves(results)
def evaluate(run: Run) -> dict[str, Any]:
    """Measures rankers and weights, and compares each method to `uniform` with an interval."""
    config, known = run.config, _known(run)
    listed = all_judges(config.evaluation.judges)
    unusable = {n: why for n, judge in listed.items() if (why := judge.unusable(known))}
    judges = {name: judge for name, judge in listed.items() if name not in unusable}
    rankers = [ranker.name for ranker in config.rankers]
    predictions = run.store.read(PREDICTIONS).transform(arms.as_arms, rankers[0])
    notes: dict[str, Any] = {}
    if not recorded_alone(judges) or config.sampling.counted:
        types = kept_types(run.folder)
        fitted = judging.fitted(run.store, types, judges, known)
        judges, unusable = fitted.judges, unusable | fitted.left_out
        samples = judging.judged_samples(run.store, types, judges)
        notes = random_slice.separated(samples, judges, config.seed) | fitted.notes
        predictions = judging.with_masses(predictions, samples, judges, known)
    reduced = reduction.reduce_predictions(predictions, config.evaluation, config.seed)
    late = config.splits.open_windows == "train" and config.sampling.label.never_closes
    decides = verdict.WHOLE if late else verdict.RANKING
    parts = arms.by_ranker(reduced, rankers)
    rows, results = _results(parts, judges, config.evaluation, notes, decides)
    # The first ranker decides; the others stand beside it.
    first, *beside = results
    weights = _weights(run)
    decisions = {name: result["decision"] for name, result in results.items()}
    decision = decisions.pop(first)
    write_json(run.folder.decision, decision | ({"rankers": decisions} if decisions else {}))
    content = results[first] | {"rankers": {name: results[name] for name in beside}}
    write_json(run.folder.evaluation, content | {"judges left out": unusable} | weights)
    facts = [
        {
            "judge": None,
            "method": m,
            "split": "train",
            "name": name,
            "kind": "weight",
            "value": float(value),
        }
        for m, statistics_of_weights in weights["facts"].items()
        for name, value in statistics_of_weights.items()
    ]
    records = [row | {"seed": config.seed} for row in rows + facts]
    run.store.write(METRICS, frame_of(run.spark, METRICS, records))
    summary: dict[str, Any] = {"metrics": len(records)}
    summary |= {"thresholds": parts[first].probabilities(), "decision": decision["text"]}
    summary |= {f"decision for {name}": other["text"] for name, other in decisions.items()}
    return summary | ({"judges left out": unusable} if unusable else {})


def _results(
    parts: Mapping[str, Reduced],
    judges: Mapping[str, Judge],
    evaluation: Evaluation,
    notes: Mapping[str, Any],
    decides: str,
) -> tuple[list[comparison.Row], dict[str, dict[str, Any]]]:
    """The metrics of all rankers, and by ranker its curves, what judges say, and the decision."""
    measured = {
        name: [
            row | {"ranker": name} for row in comparison.measure(part.values, evaluation, BASELINE)
        ]
        for name, part in parts.items()
    }
    rows = [row for own in measured.values() for row in own]
    results = {}
    for name, part in parts.items():
        others = [row for row in rows if row["ranker"] != name]
        said = verdict.verdicts(measured[name], judges, evaluation, decides, others)
        for judge, note in notes.items():
            said[judge]["note"] = note
        decision = verdict.decision(measured[name], said)
        results[name] = {"curves": reduction.curves(part), "judges": said, "decision": decision}
    return rows, results


def check_config(run: Run) -> None:
    """Refuses judges that cannot judge this run, as far as the config shows it."""
    config = run.config
    # The lists are empty until a model is fitted: only the names count here.
    estimating = {m.name: () for m in config.importance if m.estimates_propensities}
    known = Known(estimating, simulated=config.simulation is not None)
    judging.check_judges(run.spark, config.evaluation.judges, config.sampling.keep, known)


def check_samples(run: Run) -> dict[str, Any]:
    """Refuses judges that have nothing to judge in the samples, before anything is trained."""
    judges = run.config.evaluation.judges
    if recorded_alone(all_judges(judges)):
        return {}
    positives = run.config.evaluation.judge_positives
    return judging.check_judged(run.store, kept_types(run.folder), judges, positives)


def _known(run: Run) -> Known:
    config = run.config
    models, simulated = config.model_folder.models, config.simulation is not None
    return judging.known_of(run.folder, models, config.importance, simulated=simulated)


def _weights(run: Run) -> dict[str, Any]:
    """Statistics of the weights of the training rows, and the rows with extreme weights."""
    methods = [m.name for m in without(run.config.importance, left_out(run.folder))]
    wide = wide_weights(run.store.read(WEIGHTS), methods)
    train = run.store.read(SAMPLES).where("split = 'train'")
    train = train.select("sample_id", "segment", "label", "features")
    with persisted(train.join(wide, on="sample_id", how="inner")) as joined:
        columns, by_label = {m: F.col(m) for m in methods}, F.col("label").cast("int")
        spread = distribution_by(joined, columns, by_label)
        sums = weight_summary.weight_sums(joined, methods)
        names = list(read_stats(run.folder.features).names)
        drivers = weight_summary.drivers(joined, sums["n"], methods, names, run.config.seed)
        none: dict[str, Distribution] = dict.fromkeys(methods, ())
        return {
            "facts": weight_summary.weight_facts(sums, spread[None]),
            "histograms": weight_summary.histogram(spread[None]),
            "by_label": {
                str(label): weight_summary.histogram(spread.get(label, none)) for label in (0, 1)
            },
            "segment_shares": weight_summary.segment_shares(joined, sums, methods),
            "drivers": drivers,
            "extremes": weight_summary.extremes(joined, methods, names, drivers),
        }
