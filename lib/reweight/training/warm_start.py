"""Training that starts from the fitted models of an earlier run.

Only their parameters are taken over. Optimizer, epochs, loss curves, order of the rows and the
state that a learner keeps beside its parameters begin anew.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import load
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.core.run_folder import ModelsFolder
from reweight.core.section import RunId, Section
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.training import Learner, TrainFacts
from reweight.training.known_ids import ids_of_rows, new_ids, read_ids
from reweight.training.update import Extent, Update, update_of

# How long and how fast is trained, which may differ from one day to the next.
_FREE = {"epochs", "learning_rate", "weight_decay"}


class WarmStart(Section):
    """The section ``warm_start``: trained methods start from the fitted models of an earlier run.

    The samples are encoded with the feature statistics of that run. Methods that train nothing are
    fitted as always.

    Attributes:
        run_id: the earlier run; its methods of the same names have the same settings, but for
            ``epochs``, ``learning_rate`` and ``weight_decay``.
        update: what is trained: ``all`` parameters; ``head``, the last layer, all biases and the
            embeddings of ids that those models have not been trained on; or ``low_rank``, the same
            and a low-rank change of the first hidden layer, where a network has one.
        rank: of that change.
    """

    run_id: RunId
    update: Extent = "all"
    rank: int = Field(default=1, ge=1)


def wrong_start(
    section: WarmStart | None,
    run_id: str,
    model_run_id: str | None,
    methods: Sequence[ImportanceMethod],
) -> str | None:
    """What is wrong with where the models of a run come from; None if nothing is.

    Args:
        section: the section; None without one.
        run_id: of the run.
        model_run_id: the run whose models are used, if any.
        methods: of the run.
    """
    if model_run_id == run_id:
        return (
            f"model_run_id: expected another run, got this one, '{run_id}', whose own rows would "
            "count as new ones; write another run_id, or model_run_id: null to fit models"
        )
    if section is None:
        return None
    if model_run_id is not None:
        return f"warm_start: with model_run_id: {model_run_id} nothing is trained; remove one"
    if section.run_id == run_id:
        return f"warm_start.run_id: expected an earlier run, got this one, '{run_id}'"
    if all(method.learns() is None for method in methods):
        return (
            f"warm_start: none of {[method.name for method in methods]} trains a network; remove "
            "warm_start, or write importance: [{method: self_confidence}], or another that does"
        )
    return None


class StartFolder(WarmStart):
    """Where the models of the earlier run are.

    Attributes:
        folder: of the models; visible to every rank.
    """

    folder: str

    @property
    def models(self) -> ModelsFolder:
        """``folder``, with the names of its contents."""
        return ModelsFolder(Path(self.folder))

    def read(
        self, methods: Sequence[ImportanceMethod], facts: TrainFacts, rows: Path
    ) -> "StartingModels":
        """Reads the models.

        Args:
            methods: those that start from them.
            facts: of the training rows.
            rows: folder of the training rows.
        """
        names = [method.name for method in methods if method.learns() is not None]
        models = {name: ModelArtifact.read(self.models.model(name)) for name in names}
        new: tuple[Tensor, ...] = ()
        if self.update != "all" and facts.cardinalities:
            new = new_ids(ids_of_rows(rows, facts.cardinalities), read_ids(self.models))
        return StartingModels(models, self.run_id, self.update, self.rank, new)


@dataclass(frozen=True)
class StartingModels:
    """Fitted models that trainings start from.

    Attributes:
        models: by method name.
        run_id: of the run that fitted them, for messages.
        update: what is trained; see `WarmStart`.
        rank: of a low-rank change.
        new_ids: of each id field the ids of the training rows that the models do not know.
    """

    models: Mapping[str, ModelArtifact]
    run_id: str = "the earlier run"
    update: Extent = "all"
    rank: int = 1
    new_ids: tuple[Tensor, ...] = ()

    def begin(
        self, learner: Learner, methods: Sequence[ImportanceMethod], facts: TrainFacts
    ) -> Update:
        """Sets the parameters of a learner to those of the last checkpoint, and nothing else.

        Args:
            learner: untrained.
            methods: those that share it.
            facts: of the training rows.

        Returns:
            What is trained of it.

        Raises:
            TrainingError: a model does not fit its method or the rows.
        """
        for method in methods:
            model = self.models.get(method.name)
            stored = None if model is None else (model.read_method(), model.read_facts())
            check_start(method, stored, self.run_id)
            assert stored is not None
            check_rows(method, facts, stored[1], self.run_id)
        # Methods may have kept different checkpoints of one training.
        last = max((self.models[m.name] for m in methods), key=lambda model: model.epochs[-1])
        state, prefix = load(last.tensors), f"learners.{last.epochs[-1]}."
        with torch.no_grad():
            for name, parameter in learner.named_parameters():
                parameter.copy_(state[prefix + name])
        extent, rank = self.update, self.rank
        return update_of(learner, extent, rank=rank, new_ids=self.new_ids, seed=facts.seed)


def check_start(
    method: ImportanceMethod, stored: tuple[ImportanceMethod, TrainFacts] | None, run_id: str
) -> None:
    """Checks that a method can start from the model of that name.

    Args:
        method: the method.
        stored: method and facts of the model; None if there is none.
        run_id: of the run that fitted it.

    Raises:
        TrainingError: it cannot.
    """
    training = method.learns()
    if training is None:
        raise _cannot(
            method,
            "a method that trains a network",
            f"'{_kind(method)}', which trains none",
            "leave warm_start out",
        )
    if stored is None:
        raise _cannot(
            method,
            f"a fitted model '{method.name}' of run '{run_id}'",
            "none",
            f"leave '{method.name}' out of importance, or name a run that has fitted it: "
            "warm_start: {run_id: RUN}",
        )
    stored_training = stored[0].learns()
    if type(stored[0]) is not type(method) or type(stored_training) is not type(training):
        raise _cannot(
            method,
            f"a model of the method '{_kind(method)}'",
            f"one of '{_kind(stored[0])}' in run '{run_id}'",
            "give the methods of both runs the same names",
        )
    assert stored_training is not None
    current, previous = (t.model_dump(by_alias=True) for t in (training, stored_training))
    if changed := [key for key in current if key not in _FREE and current[key] != previous[key]]:
        raise _cannot(
            method,
            f"the settings of run '{run_id}': {_settings(previous, changed)}",
            _settings(current, changed),
            f"write them as in run '{run_id}', or leave warm_start out",
        )


def check_rows(
    method: ImportanceMethod, facts: TrainFacts, stored: TrainFacts, run_id: str
) -> None:
    """Checks that rows are what a model was fitted on, encoded in the same way.

    Args:
        method: the method that starts from it.
        facts: of the rows.
        stored: of the model.
        run_id: of the run that fitted it.

    Raises:
        TrainingError: they are not.
    """
    check_seed(method, facts.seed, stored.seed, run_id)
    parts = ("dim", "names", "cardinalities", "sequence", "quantiles")
    current, previous = ({name: getattr(f, name) for name in parts} for f in (facts, stored))
    if changed := [name for name in parts if current[name] != previous[name]]:
        raise _cannot(
            method,
            f"rows with the features of run '{run_id}'",
            f"other {', '.join(changed)}",
            f"copy the section features from run '{run_id}', or leave warm_start out",
        )


def check_seed(method: ImportanceMethod, seed: int, stored: int, run_id: str) -> None:
    """Checks the seed: with another one, members would score rows that they were trained on.

    Raises:
        TrainingError: it is another one.
    """
    if seed != stored:
        raise _cannot(
            method,
            f"the seed of run '{run_id}', {stored}: it decides which members see which row, and "
            "they have learnt the rows that they saw there",
            f"seed: {seed}",
            f"write seed: {stored}",
        )


def stored_model(
    models: ModelsFolder, method: ImportanceMethod
) -> tuple[ImportanceMethod, TrainFacts] | None:
    """Method and facts of the model with the name of a method; None if there is none."""
    folder = models.model(method.name)
    return ModelArtifact.described(folder) if ModelArtifact.is_in(folder) else None


def _kind(method: ImportanceMethod) -> str:
    return str(type(method).model_fields["method"].default)


def _settings(values: Mapping[str, Any], names: Collection[str]) -> str:
    return ", ".join(f"{name}: {values[name]}" for name in names)


def _cannot(method: ImportanceMethod, expected: str, got: str, fix: str) -> TrainingError:
    return TrainingError(
        f"'{method.name}' cannot start from an earlier model", expected=expected, got=got, fix=fix
    )
