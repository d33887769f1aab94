"""A transformers model in a local folder: the mean of its last hidden states.

The folder is what ``save_pretrained`` writes: ``config.json``, the tokenizer and the weights as
``.safetensors`` (pickled weights could run code and are not read). A GPU is used where there is
one. Vectors of a text differ in the last digits between devices and batches.
"""

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reweight.build_samples.encoders.base import Encode, Encoder, of_length_1, projection
from reweight.core.errors import ConfigError, SetupError

_MAX_TOKENS = 256
_AT_ONCE = 64
_CONFIG = "config.json"
# Suffixes of the files that its vectors depend on.
_READ = (".json", ".txt", ".model", ".safetensors")


@dataclass(frozen=True)
class Transformer(Encoder):
    """A pretrained model of the package ``transformers``.

    Attributes:
        folder: absolute path of the folder, which all machines see.
    """

    folder: str

    @property
    def width(self) -> int:
        """The size of its hidden states."""
        return int(json.loads((Path(self.folder) / _CONFIG).read_text())["hidden_size"])

    def identity(self) -> str:
        """The version of the package and a hash of the model's files, wherever they lie."""
        paths = [p for p in sorted(Path(self.folder).iterdir()) if p.suffix in _READ]
        files = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths)
        return f"transformers {version('transformers')} {_digest(files)}"

    def check(self) -> None:
        """Checks that the package is installed and the folder is complete."""
        if not (Path(self.folder) / _CONFIG).is_file():
            raise self._incomplete("no such folder" if not Path(self.folder).is_dir() else _CONFIG)
        if not isinstance(self._settings().get("hidden_size"), int):
            raise self._incomplete(f"hidden_size in {_CONFIG}")
        for pattern in ("*.safetensors", "tokenizer*"):
            if not any(Path(self.folder).glob(pattern)):
                raise self._incomplete(pattern)
        if importlib.util.find_spec("transformers") is None:
            raise SetupError(
                "features.text: the package transformers is not installed",
                expected=f"transformers, on all machines, to read {self.folder}",
                got="not installed",
                fix='run pip install "reweight[transformers]", or write encoder: hashed',
            )

    def load(self, dim: int) -> Encode:
        """Reads the model, onto a GPU where there is one."""
        import torch
        from transformers import AutoModel, AutoTokenizer

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        model = AutoModel.from_pretrained(self.folder, local_files_only=True, use_safetensors=True)
        model = model.to(device).eval()
        longest = min(_MAX_TOKENS, int(model.config.max_position_embeddings or _MAX_TOKENS))
        directions = projection(self.width, dim)

        def pooled(texts: Sequence[str]) -> NDArray[np.float32]:
            tokens = tokenizer(
                list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
            ).to(device)
            with torch.inference_mode():
                states = model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"].unsqueeze(-1)
            means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            vectors: NDArray[np.float32] = means.cpu().numpy()
            return vectors

        def encode(texts: Sequence[str]) -> NDArray[np.float32]:
            # Texts of about one length in a batch: padding costs as much as text.
            order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
            vectors = np.zeros((len(texts), directions.shape[1]), dtype=np.float32)
            for begin in range(0, len(order), _AT_ONCE):
                chosen = order[begin : begin + _AT_ONCE]
                vectors[chosen] = pooled([texts[i] for i in chosen]) @ directions
            return of_length_1(vectors)

        return encode

    def _settings(self) -> dict[str, Any]:
        try:
            settings = json.loads((Path(self.folder) / _CONFIG).read_text())
        except ValueError:
            return {}
        return settings if isinstance(settings, dict) else {}

    def _incomplete(self, missing: str) -> ConfigError:
        return ConfigError(
            "features.text: there is no transformers model for the encoder",
            expected=f"in {self.folder}: config.json, the tokenizer's files and the weights as "
            ".safetensors",
            got=f"missing: {missing}",
            fix="copy the model to a folder that all machines see (model.save_pretrained and "
            "tokenizer.save_pretrained write it) and write encoder: /that/folder; or write "
            "encoder: wordllama",
        )


@lru_cache
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    """A hash of files, each given with what changes when it changes."""
    combined = hashlib.sha256()
    for path, _, _ in files:
        combined.update(Path(path).name.encode())
        with Path(path).open("rb") as file:
            combined.update(hashlib.file_digest(file, "sha256").digest())
    return combined.hexdigest()[:16]
