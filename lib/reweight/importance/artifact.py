"""A fitted model as a folder that stands alone: tensors and JSON, no pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import Tensor, nn

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods import Method
from reweight.importance.training import TrainFacts

# Files of a model's folder; the settings are written last.
_TENSORS, _SETTINGS = "model.safetensors", "model.json"
_METHOD: TypeAdapter[ImportanceMethod] = TypeAdapter(Method)


@dataclass(frozen=True)
class ModelArtifact:
    """A model as plain values: what is written to disk and broadcast to executors.

    Attributes:
        method: JSON of the method.
        facts: JSON of the facts that it was built with.
        epochs: at which its learners were kept.
        tensors: the state dict in the safetensors format.
    """

    method: str
    facts: str
    epochs: tuple[int, ...]
    tensors: bytes

    @classmethod
    def of(
        cls, method: ImportanceMethod, facts: TrainFacts, model: ImportanceModel
    ) -> "ModelArtifact":
        """Takes a model's values."""
        # Learners of several epochs may share memory, which the format refuses.
        state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        epochs = tuple(sorted(int(name) for name in model.learners))
        said = method.model_dump_json(by_alias=True)
        return cls(said, facts.model_dump_json(), epochs, save(state))

    def model(self) -> ImportanceModel:
        """The model, ready to score."""
        facts = TrainFacts.model_validate_json(self.facts)
        model = self.read_method().build(facts, self.epochs)
        model.load_state_dict(load(self.tensors))
        return model.eval()

    def read_method(self) -> ImportanceMethod:
        """The method."""
        return _METHOD.validate_json(self.method)

    def write(self, folder: Path) -> None:
        """Writes ``model.json`` and ``model.safetensors``; the JSON, last, makes it complete."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _TENSORS).write_bytes(self.tensors)
        values = {
            "method": json.loads(self.method),
            "facts": json.loads(self.facts),
            "epochs": self.epochs,
        }
        (folder / _SETTINGS).write_text(json.dumps(values))

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether a complete model is in the folder."""
        return (folder / _SETTINGS).is_file()

    @classmethod
    def read(cls, folder: Path) -> "ModelArtifact":
        """Reads what ``write`` wrote."""
        values = json.loads((folder / _SETTINGS).read_text())
        tensors = (folder / _TENSORS).read_bytes()
        method, facts = json.dumps(values["method"]), json.dumps(values["facts"])
        return cls(method, facts, tuple(values["epochs"]), tensors)


class Scorer:
    """Scores rows by several methods; what they share is held and computed once.

    Args:
        artifacts: method name -> fitted model.

    Attributes:
        models: by method name; those of one training hold the same learners.
        soft: names of the methods that say labels.
    """

    def __init__(self, artifacts: Mapping[str, ModelArtifact]) -> None:
        self.models = {name: one.model() for name, one in artifacts.items()}
        methods = {name: one.read_method() for name, one in artifacts.items()}
        # Those that combine others come after them.
        self._order = sorted(methods, key=lambda name: bool(methods[name].combines()))
        self.soft = [name for name, method in methods.items() if method.soft]
        self._trained = trained(methods)
        pool: dict[tuple[str, str], nn.Module] = {}
        for name, model in self.models.items():
            training = methods[name].learns()
            for epoch, learner in model.learners.items():
                assert training is not None
                known = pool.setdefault((training.key, epoch), learner)
                # The same settings on other rows (another run) are another training.
                if _equal(known, learner):
                    model.learners[epoch] = known

    @torch.inference_mode()
    def __call__(self, batch: Batch, outputs: EnsembleOutputs | None = None) -> dict[str, Tensor]:
        """The importance of each row by each method, float32 [B].

        Args:
            batch: the rows.
            outputs: of the same rows, shared with ``soft_labels``.
        """
        return self.scores(batch, outputs)

    def scores(self, batch: Batch, outputs: EnsembleOutputs | None = None) -> dict[str, Tensor]:
        """As a call, but gradients can be taken of it."""
        outputs = outputs or EnsembleOutputs(batch)
        for name in self._order:
            outputs.scores[name] = self.models[name](batch, outputs)
        return {name: outputs.scores[name] for name in self.models}

    @torch.inference_mode()
    def soft_labels(self, outputs: EnsembleOutputs) -> dict[str, Tensor]:
        """p(y = 1) of each row by each method that is soft, float32 [B]."""
        return {name: self.models[name].soft_label(outputs) for name in self.soft}

    @torch.inference_mode()
    def in_sample(self, outputs: EnsembleOutputs) -> dict[str, Tensor]:
        """Which rows each trained method scores by members that see them, bool [B].

        Among training rows these were scored by networks that were trained on them.
        """
        return {
            name: torch.stack(
                [outputs.in_sample(self.models[part].checkpoints()[-1]) for part in parts]
            ).any(0)
            for name, parts in self._trained.items()
        }


def trained(methods: Mapping[str, ImportanceMethod]) -> dict[str, list[str]]:
    """The methods that score by trained members, and whose: their own, or those they combine."""
    learning = {name for name, method in methods.items() if method.learns() is not None}
    parts = {
        name: [part for part in method.combines() or (name,) if part in learning]
        for name, method in methods.items()
    }
    return {name: own for name, own in parts.items() if own}


def _equal(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules of the same settings hold the same tensors."""
    found, wanted = one.state_dict(), other.state_dict()
    same = found.keys() == wanted.keys()
    return same and all(torch.equal(found[name], wanted[name]) for name in found)
