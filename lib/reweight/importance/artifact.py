"""A fitted model as a self-contained folder: tensors and JSON, no pickle."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import Tensor, nn

from reweight.core.run_folder import ModelsFolder
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods import Trainable
from reweight.importance.training import TrainFacts

# The settings are written last: they mark the folder as complete.
_TENSORS, _SETTINGS = "model.safetensors", "model.json"
_METHOD: TypeAdapter[ImportanceMethod] = TypeAdapter(Trainable)


@dataclass(frozen=True)
class ModelArtifact:
    """A fitted model as plain values, to write to disk and to broadcast to executors.

    Attributes:
        method: the method as JSON.
        facts: the facts that the model was built from, as JSON.
        epochs: the checkpoints that its learners come from.
        tensors: the state dict in safetensors format.
    """

    method: str
    facts: str
    epochs: tuple[int, ...]
    tensors: bytes

    @classmethod
    def of(
        cls, method: ImportanceMethod, facts: TrainFacts, model: ImportanceModel
    ) -> "ModelArtifact":
        """Captures a fitted model."""
        # Learners of different epochs may share memory, which safetensors does not allow.
        state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        epochs = tuple(sorted(int(name) for name in model.learners))
        method_json = method.model_dump_json(by_alias=True)
        return cls(method_json, facts.model_dump_json(), epochs, save(state))

    def model(self) -> ImportanceModel:
        """Rebuilds the model, ready to score."""
        model = self.read_method().build(self.read_facts(), self.epochs)
        model.load_state_dict(load(self.tensors))
        return model.eval()

    def read_method(self) -> ImportanceMethod:
        """Parses the method."""
        return _METHOD.validate_json(self.method)

    def read_facts(self) -> TrainFacts:
        """Parses the facts."""
        return TrainFacts.model_validate_json(self.facts)

    def write(self, folder: Path) -> None:
        """Writes ``model.safetensors``, then ``model.json``, which marks the folder as complete."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _TENSORS).write_bytes(self.tensors)
        (folder / _SETTINGS).write_text(self._settings())

    def replace(self, models: ModelsFolder, name: str) -> None:
        """Writes the model of a method, and removes the weight policy of another one there."""
        folder = models.model(name)
        if self.is_in(folder) and (self._settings(), self.tensors) == (
            (folder / _SETTINGS).read_text(),
            (folder / _TENSORS).read_bytes(),
        ):
            return
        models.policy(name).unlink(missing_ok=True)
        self.write(folder)

    def _settings(self) -> str:
        method, facts = json.loads(self.method), json.loads(self.facts)
        return json.dumps({"method": method, "facts": facts, "epochs": self.epochs})

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether the folder holds a complete model."""
        return (folder / _SETTINGS).is_file()

    @classmethod
    def read(cls, folder: Path) -> "ModelArtifact":
        """Reads a folder that ``write`` wrote."""
        values = json.loads((folder / _SETTINGS).read_text())
        tensors = (folder / _TENSORS).read_bytes()
        method, facts = json.dumps(values["method"]), json.dumps(values["facts"])
        return cls(method, facts, tuple(values["epochs"]), tensors)

    @staticmethod
    def described(folder: Path) -> tuple[ImportanceMethod, TrainFacts]:
        """The method of a folder that ``write`` wrote, and its facts, without the tensors."""
        values = json.loads((folder / _SETTINGS).read_text())
        method = _METHOD.validate_json(json.dumps(values["method"]))
        return method, TrainFacts.model_validate_json(json.dumps(values["facts"]))


@dataclass(frozen=True)
class Scored:
    """What fitted models say of B rows, by method name.

    Attributes:
        importance: float32 [B].
        soft_labels: p(y = 1) by the soft methods, float32 [B].
        in_sample: of methods with trained members, whether all of these see the row, bool [B]: a
            training row is then scored by networks that were trained on it.
    """

    importance: dict[str, Tensor]
    soft_labels: dict[str, Tensor]
    in_sample: dict[str, Tensor]


class Scorer:
    """Scores rows with several methods; what they share is stored and computed once.

    Args:
        artifacts: fitted models by method name.

    Attributes:
        models: by method name; models of the same training share its learners.
        soft: names of the methods that return soft labels.
    """

    def __init__(self, artifacts: Mapping[str, ModelArtifact]) -> None:
        self.models = {name: artifact.model() for name, artifact in artifacts.items()}
        methods = {name: artifact.read_method() for name, artifact in artifacts.items()}
        # Methods that combine others are scored after them.
        self._order = sorted(methods, key=lambda name: bool(methods[name].combines()))
        self.soft = [name for name, method in methods.items() if method.soft]
        self._trained = trained(methods)
        shared: dict[tuple[str, str], nn.Module] = {}
        for name, model in self.models.items():
            training = methods[name].learns()
            for epoch, learner in model.learners.items():
                assert training is not None
                first = shared.setdefault((training.key, epoch), learner)
                # In another run the same settings were trained on other rows.
                if _equal(first, learner):
                    model.learners[epoch] = first

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """The importance of each row under each method, float32 [B]."""
        return self.scored(batch).importance

    @torch.inference_mode()
    def scored(self, batch: Batch) -> Scored:
        """All that the models say of the rows."""
        parts = [self._scored(part) for part in batch.parts()]
        return Scored(*[_joined(of_parts) for of_parts in zip(*parts, strict=True)])

    def scores(self, batch: Batch, outputs: EnsembleOutputs | None = None) -> dict[str, Tensor]:
        """The importance as a call gives it, but differentiable.

        Args:
            batch: the rows.
            outputs: the ensemble outputs of the same rows, for what else is made of them.
        """
        outputs = outputs or EnsembleOutputs(batch)
        for name in self._order:
            outputs.scores[name] = self.models[name](batch, outputs)
        return {name: outputs.scores[name] for name in self.models}

    def _scored(self, batch: Batch) -> tuple[dict[str, Tensor], ...]:
        """The fields of ``Scored``."""
        outputs = EnsembleOutputs(batch)
        importance = self.scores(batch, outputs)
        soft_labels = {name: self.models[name].soft_label(outputs) for name in self.soft}
        in_sample = {
            name: torch.stack(
                [outputs.in_sample(self.models[part].checkpoints()[-1]) for part in parts]
            ).any(0)
            for name, parts in self._trained.items()
        }
        return importance, soft_labels, in_sample


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def trained(methods: Mapping[str, ImportanceMethod]) -> dict[str, list[str]]:
    """The methods that score with trained members, each with the methods that train these."""
    learning = {name for name, method in methods.items() if method.learns() is not None}
    trained_parts = {
        name: [part for part in method.combines() or (name,) if part in learning]
        for name, method in methods.items()
    }
    return {name: parts for name, parts in trained_parts.items() if parts}


def _equal(left: nn.Module, right: nn.Module) -> bool:
    """Whether two modules with the same settings hold the same tensors."""
    a, b = left.state_dict(), right.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
