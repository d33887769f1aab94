"""`wordllama`: the mean of pretrained vectors of a text's tokens.

WordLlama (Miller 2024) distils the token vectors of large language models into a table of 32,000
tokens and 256 numbers, which its package contains. They are trained so that the first numbers of a
vector are a vector of their own (Matryoshka; Kusupati et al. 2022), and ``dim`` takes these.

Only the package's own two files are read here: its loader would look for others on the network, and
needs a newer numpy than petastorm has.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reweight.build_samples.encoders.base import Encode, Encoder, of_length_1
from reweight.core.errors import SetupError

_WIDTH = 256
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENS = "tokenizers/l2_supercat_tokenizer_config.json"


@dataclass(frozen=True)
class WordLlama(Encoder):
    """The pretrained vectors of the package ``wordllama``."""

    @property
    def width(self) -> int:
        """The length of its vectors."""
        return _WIDTH

    def identity(self) -> str:
        """The version of the package, which contains the vectors."""
        return f"wordllama {version('wordllama')}"

    def check(self) -> None:
        """Checks that the package, its files and the tokenizer are installed."""
        try:
            version("wordllama")
            missing = [
                str(p) for p in (_folder() / _WEIGHTS, _folder() / _TOKENS) if not p.exists()
            ]
        except PackageNotFoundError:
            missing = ["wordllama"]
        missing += [] if importlib.util.find_spec("tokenizers") else ["tokenizers"]
        if missing:
            raise SetupError(
                "features.text: the encoder wordllama is not installed",
                expected="the packages wordllama and tokenizers, on all machines",
                got=f"missing: {', '.join(missing)}",
                fix='run pip install "reweight[wordllama]" (beside petastorm, whose numpy is '
                "older: pip install --no-deps wordllama==0.4.0.post1 tokenizers), or write "
                "encoder: hashed",
            )

    def load(self, dim: int) -> Encode:
        """Reads the vectors of the tokens."""
        # Each core runs a task of its own.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        from safetensors.numpy import load_file
        from scipy.sparse import csr_matrix
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(_folder() / _TOKENS))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokens = load_file(_folder() / _WEIGHTS)["embedding.weight"][:, :dim].astype(np.float32)
        size = len(tokens)

        def encode(texts: Sequence[str]) -> NDArray[np.float32]:
            encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            ids = [encoding.ids for encoding in encoded]
            ends = np.cumsum([0, *map(len, ids)])
            flat = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(ends[-1]))
            ones = np.ones(len(flat), dtype=np.float32)
            counts = csr_matrix((ones, np.minimum(flat, size - 1), ends), shape=(len(ids), size))
            return of_length_1(counts @ tokens)

        return encode


def _folder() -> Path:
    """The folder of the package, found without importing it."""
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.submodule_search_locations is None:
        raise PackageNotFoundError("wordllama")
    return Path(next(iter(spec.submodule_search_locations)))
