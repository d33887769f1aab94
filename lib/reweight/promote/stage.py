"""The stage promote, which runs on its own after the pipeline of a challenger.

Reads:
    The tables ``promotions`` and ``predictions``, and what the judge of the challenger's run reads;
    of both runs their configs, feature statistics and what evaluate has decided.

Writes:
    One row of the table ``promotions``. The live weights are those that its newest row names: in a
    catalog, the view ``published_weights`` shows them.

Refuses:
    A challenger without a decision of evaluate; a run of which ``score_weights``, ``train_ranker``
    and ``evaluate`` are not done, or not one after the other; a challenger with other features or
    another ranker than the live weights, or one that was judged on other validation rows; a run in
    place of the live one that does not have the live weights; and a rollback with nothing to go
    back to.
"""

import getpass
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pyspark.errors import AnalysisException

from reweight.config import Run, RunConfig
from reweight.core.baselines import BASELINE
from reweight.core.errors import PromotionError
from reweight.core.kept import kept_types
from reweight.core.run_folder import RunFolder
from reweight.core.small_rows import frame_of
from reweight.core.store_places import open_store
from reweight.core.tables import PROMOTIONS
from reweight.evaluate import comparison, judging, reduction
from reweight.evaluate.judges import all_judges, recorded_alone
from reweight.promote.decisions import ROLLED_BACK, Decision, Version, versions_so_far
from reweight.promote.judged_runs import WEIGHING, check_done, weights_key
from reweight.promote.published import NAME, read_history, view
from reweight.promote.rules import LIVE, Judged, decided, judged
from reweight.promote.side_by_side import beside_live, check_features, validation_rows

_LOG = logging.getLogger(__name__)


def promote(run: Run) -> dict[str, Any]:
    """Lets a challenger's weights go live if they are better than the live ones on the same rows.

    Every decision, also that the live weights stay, is a row of the table `promotions`.
    """
    section, history = run.config.promotion, read_history(run.store)
    if section.history:
        return {"decisions": len(history)} | {str(d.number): str(d) for d in history}
    number = history[-1].number + 1 if history else 1
    before = history[-1].live if history else None
    challenger: Version | None = None
    result = Judged(None)
    if section.rollback:
        word, reason, live = ROLLED_BACK, "It was asked for.", _version_before(run, history)
    else:
        left = before and _left(run, before)
        challenger, beside, result = _judged(run, left)
        word, reason, live = decided(challenger, beside, result, history, section.horizon)
        if before and left is None:
            lost = "has made its weights again since they went live"
            lost = lost if _folder(run, before.run).config.is_file() else "is not there any more"
            reason = (
                f"Run {before.run} {lost}, so the challenger is compared with uniform ones. "
                f"{reason}"
            )
    decision = Decision(
        number=number,
        decided_at=datetime.now(UTC),
        decided_by=getpass.getuser(),
        decision=word,
        reason=reason,
        challenger=challenger,
        before=before,
        live=live,
        judgement=result.judgement,
    )
    _write(run, decision)
    return {"decision": word, "live": f"{live}, on the rows of run {live.run}", "reason": reason}


def _left(run: Run, live: Version) -> Version | None:
    """The live version as its run has it now; None if the run has made others, or is gone."""
    if live.method == BASELINE:
        return live
    if not _folder(run, live.run).config.is_file():
        return None
    opened = _opened(run, live.run)
    models_left = opened.config.model_folder.config.is_file()
    if models_left and (current := _version(opened, live.method)).is_same(live):
        return current
    # The run of the models may have made others or be gone: this one still has the rows of before.
    return live if live.is_left(weights_key(opened.folder)) else None


def _version(run: Run, method: str) -> Version:
    """The weights of a method as a run has them now."""
    folder, models = run.folder, run.config.model_folder
    check_done(models, (WEIGHING,))
    keys = [str(weights_key(one)) for one in dict.fromkeys((folder, models))]
    return Version(folder.path.name, models.path.name, method, " ".join(keys))


def _version_before(run: Run, history: Sequence[Decision]) -> Version:
    versions = versions_so_far(history)
    if len(versions) < 2:
        raise PromotionError(
            "there is no version to go back to",
            expected="two versions that went live",
            got=f"{len(versions)} in {len(history)} decisions",
            fix="python jobs/promote.py CONFIG --history shows them",
        )
    version = versions[-2]
    if not version.is_left(weights_key(_folder(run, version.run))):
        raise PromotionError(
            "the version before the live one is not there any more",
            expected=f"{version}, as it was judged",
            got=f"the score_weights of run '{version.run}' was run again, or is at work",
            fix=f"python jobs/promote.py CONFIG --challenger {version.run} judges the new weights",
        )
    return version


def _judged(run: Run, live: Version | None) -> tuple[Version, Version | None, Judged]:
    """The challenger, the live version over the rows on which they are compared, and a judgement.

    Uniform weights are in every run, so they are compared within the challenger's.
    """
    name = run.config.promotion.challenger
    if name is None:
        raise PromotionError(
            "there is no challenger",
            expected="the run whose weights may go live, or --rollback or --history",
            got="none",
            fix="python jobs/promote.py CONFIG --challenger RUN",
        )
    challenger_run = _opened(run, name)
    shipped = _content(challenger_run, challenger_run.folder.decision)
    challenger = _version(challenger_run, shipped["weights"])
    stays = live or Version.uniform(name)
    beside = _beside(run, challenger_run, stays)
    if challenger.is_same(stays):
        return challenger, live and beside, Judged(None)
    if shipped["judge"] is None:
        why = f"No judge of run {name} has enough positives and groups to tell."
        return challenger, live and beside, Judged(None, why=why)
    return (
        challenger,
        live and beside,
        _compared(run, challenger_run, challenger, beside, shipped["judge"]),
    )


def _beside(run: Run, challenger: Run, live: Version) -> Version:
    """The live version over the rows of a run that can be compared with the challenger's."""
    against = run.config.promotion.against
    if live.method == BASELINE:
        return Version.uniform(challenger.config.run_id)
    if against is None:
        return live
    opened = _opened(run, against)
    version = _version(opened, live.method)
    if version.model == live.model and not version.is_same(live):
        raise PromotionError(
            f"run '{live.model}' has made other models or weights since its weights went live",
            expected=f"the live weights in run '{against}'",
            got=f"those that run '{live.model}' has made since",
            fix=f"judge the new ones: --challenger {live.model}",
        )
    if not version.is_same(live) or live.method not in {m.name for m in opened.config.importance}:
        raise PromotionError(
            f"run '{against}' does not have the live weights",
            expected=f"a run with model_run_id: {live.model} and the method {live.method}",
            got=f"the models of run '{version.model}'",
            fix=f"python jobs/pipeline.py CONFIG run_id={challenger.config.run_id}_live "
            f"model_run_id={live.model}, and add --against {challenger.config.run_id}_live",
        )
    return version


def _compared(run: Run, challenger: Run, version: Version, live: Version, judge: str) -> Judged:
    live_run, config = _opened(run, live.run), challenger.config
    check_features(challenger.folder, live_run.folder)
    _check_rankers(config, live_run.config)
    rankers = [c.rankers[0].name for c in (config, live_run.config)]
    rows = validation_rows(challenger.store, rankers[0], challenger=True)
    live_rows = validation_rows(live_run.store, rankers[1], challenger=False)
    predictions, number, rows_hash = beside_live((version, rows), (live, live_rows))
    judges = {judge: all_judges(config.evaluation.judges)[judge]}
    # The recorded labels of all rows need no samples; a config may choose rows or weigh them.
    if not recorded_alone(judges) or config.sampling.counted:
        models, simulated = config.model_folder.models, config.simulation is not None
        known = judging.known_of(challenger.folder, models, config.importance, simulated=simulated)
        types = kept_types(challenger.folder)
        judges = judging.fitted(challenger.store, types, judges, known).judges
        samples = judging.judged_samples(challenger.store, types, judges)
        predictions = judging.with_masses(predictions, samples, judges, known)
    reduced = reduction.reduce_predictions(predictions, config.evaluation, config.seed)
    evaluated = _content(challenger, challenger.folder.evaluation)["judges"][judge]
    facts = {
        "judge": judge,
        "metric": evaluated["decides"],
        "rows": number,
        "rows_hash": rows_hash,
        "seed": config.seed,
    }
    measured = comparison.measure(reduced.values, config.evaluation, LIVE)
    return judged(measured, version.method, facts, config.evaluation)


def _check_rankers(challenger: RunConfig, live: RunConfig) -> None:
    ranker, live_ranker = (
        c.rankers[0].model_dump(exclude={"recalibrate"}) for c in (challenger, live)
    )
    if ranker != live_ranker:
        differ = sorted(k for k in {*ranker, *live_ranker} if ranker.get(k) != live_ranker.get(k))
        raise PromotionError(
            f"run '{challenger.run_id}' has another ranker than '{live.run_id}'",
            expected="one first ranker, so that a difference is one of the weights",
            got=f"other values of {differ}",
            fix="give both runs the same first entry of `rankers`",
        )


def _folder(run: Run, name: str) -> RunFolder:
    return RunFolder.of(run.config.root, name)


def _opened(run: Run, name: str) -> Run:
    """Another run of the same root, to read from: one whose judges have judged its weights."""
    root, catalog, folder = run.config.root, run.config.catalog, _folder(run, name)
    if not folder.config.is_file():
        raise PromotionError(
            f"there is no run '{name}'",
            expected=f"a finished run in {folder.path}",
            got="no config.json",
            fix="use the name of a run under the same root, or run its pipeline first",
        )
    check_done(folder)
    values = json.loads(folder.config.read_text()) | {"root": root, "catalog": catalog}
    config = RunConfig.model_validate(values)
    store = open_store(run.spark, run.folder.path.parents[1].absolute().as_posix(), name, catalog)
    store.lineage = run.store.lineage
    return Run(run.spark, config, store)


def _content(run: Run, path: Any) -> dict[str, Any]:
    if not path.is_file():
        raise PromotionError(
            f"run '{run.config.run_id}' has not been evaluated",
            expected=str(path),
            got="no such file",
            fix=f"python jobs/pipeline.py CONFIG run_id={run.config.run_id}",
        )
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _write(run: Run, decision: Decision) -> None:
    frame = frame_of(run.spark, PROMOTIONS, [decision.row()])
    run.store.write(PROMOTIONS, frame, where=f"number = {decision.number}")
    try:
        run.store.make_view(NAME, view(run.store))
    except AnalysisException as error:
        _LOG.warning("no view %s: %s", NAME, str(error).splitlines()[0][:200])
