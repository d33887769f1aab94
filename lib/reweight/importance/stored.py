"""A fitted model as a folder that stands alone: tensors and JSON, no pickle."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from safetensors.torch import load, save

from reweight.importance import ImportanceMethod, ImportanceModel, Method, TrainFacts

_METHOD: TypeAdapter[ImportanceMethod] = TypeAdapter(Method)


@dataclass(frozen=True)
class StoredModel:
    """A model as plain values: what is written to disk and broadcast to executors.

    Attributes:
        method: JSON of the method.
        facts: JSON of the facts that it was built with.
        tensors: the state dict in the safetensors format.
    """

    method: str
    facts: str
    tensors: bytes

    @classmethod
    def of(
        cls, method: ImportanceMethod, facts: TrainFacts, model: ImportanceModel
    ) -> "StoredModel":
        """Takes a model's values."""
        state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
        return cls(method.model_dump_json(by_alias=True), facts.model_dump_json(), save(state))

    def model(self) -> ImportanceModel:
        """The model, ready to score."""
        facts = TrainFacts.model_validate_json(self.facts)
        model = _METHOD.validate_json(self.method).build(facts)
        model.load_state_dict(load(self.tensors))
        return model.eval()

    def write(self, folder: Path) -> None:
        """Writes ``model.json`` and ``model.safetensors``; the JSON, last, makes it complete."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(self.tensors)
        text = json.dumps({"method": json.loads(self.method), "facts": json.loads(self.facts)})
        (folder / "model.json").write_text(text)

    @classmethod
    def read(cls, folder: Path) -> "StoredModel":
        """Reads what ``write`` wrote."""
        values = json.loads((folder / "model.json").read_text())
        tensors = (folder / "model.safetensors").read_bytes()
        return cls(json.dumps(values["method"]), json.dumps(values["facts"]), tensors)
