"""`hashed`: words and their parts, hashed; needs no model and reads every script.

A text is the counts of its words and of the n-grams of 3 and 4 characters of each word, as in
fastText (Bojanowski et al. 2017), hashed into 2^15 buckets (Weinberger et al. 2009) and projected.
It sees common words and spellings, but not that two words mean the same.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reweight.build_samples.encoders.base import Encode, Encoder, of_length_1, projection

_BUCKETS = 2**15
_WORDS = re.compile(r"\w+|[^\w\s]+")
# Counts up when the vectors of a text change.
_VERSION = 1


@dataclass(frozen=True)
class Hashed(Encoder):
    """Hashed words and n-grams of characters."""

    @property
    def width(self) -> int:
        """Beyond it, more numbers would cost more and tell nothing."""
        return 1024

    def identity(self) -> str:
        """The version of the n-grams."""
        return f"hashed {_VERSION}"

    def load(self, dim: int) -> Encode:
        """Draws the random directions of the buckets."""
        from sklearn.feature_extraction import FeatureHasher

        hasher = FeatureHasher(_BUCKETS, input_type="string", dtype=np.float32)
        directions = projection(_BUCKETS, dim)

        def encode(texts: Sequence[str]) -> NDArray[np.float32]:
            counts = hasher.transform(map(_grams, texts))
            return of_length_1(counts @ directions)

        return encode


def _grams(text: str) -> Iterator[str]:
    for word in _WORDS.findall(unicodedata.normalize("NFKC", text).casefold()):
        yield word
        marked = f"<{word}>"
        for size in (3, 4):
            for begin in range(len(marked) - size + 1):
                yield marked[begin : begin + size]
