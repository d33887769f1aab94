"""What every encoder is: a description that is cheap to send, and loaded where texts are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Texts -> vectors of length 1, float32 [N, dim]; zeros where nothing in a text is known.
Encode = Callable[[Sequence[str]], NDArray[np.float32]]

_SEED = 2101


class Encoder(ABC):
    """A way to turn texts into vectors."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The dimension of its own vectors; more cannot be asked for."""

    @abstractmethod
    def identity(self) -> str:
        """Its name and the version of everything that its vectors depend on."""

    def check(self) -> None:  # noqa: B027 (an encoder may need nothing)
        """Checks that everything it needs is there.

        Raises:
            SetupError: a package is not installed.
            ConfigError: the folder of the model is missing or incomplete.
        """

    @abstractmethod
    def load(self, dim: int) -> Encode:
        """Loads it; takes a moment, so it is done once for each worker process."""


def projection(width: int, dim: int) -> NDArray[np.float32]:
    """Random directions that reduce the dimension, float32 [width, dim]; the same ones always.

    Angles are kept up to about 1 / sqrt(dim) (Johnson & Lindenstrauss 1984), and nothing has to be
    fitted. With ``dim`` equal to ``width`` nothing is changed.
    """
    if dim == width:
        return np.eye(width, dtype=np.float32)
    # The legacy generator: its numbers are the same in all versions of numpy.
    drawn = np.random.RandomState(_SEED).standard_normal((width, dim))
    return np.asarray(drawn / np.sqrt(dim), dtype=np.float32)


def of_length_1(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """The vectors, divided by their lengths; zeros stay zeros."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    scaled = np.divide(vectors, lengths, out=np.zeros_like(lengths * vectors), where=lengths > 0)
    return np.asarray(scaled, dtype=np.float32)
