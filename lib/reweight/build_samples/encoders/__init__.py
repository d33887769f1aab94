"""The encoders of texts: one file each, and the only list of them.

An encoder downloads nothing and fits nothing: a text has the same vector in every run.
"""

from reweight.build_samples.encoders.base import Encoder
from reweight.build_samples.encoders.hashed import Hashed
from reweight.build_samples.encoders.transformer import Transformer
from reweight.build_samples.encoders.wordllama import WordLlama

__all__ = ["ENCODERS", "Encoder", "encoder_of"]

ENCODERS: dict[str, Encoder] = {"hashed": Hashed(), "wordllama": WordLlama()}


def encoder_of(name: str) -> Encoder:
    """The encoder that a config names.

    Args:
        name: ``hashed``, ``wordllama`` or the absolute path of a transformers model.

    Raises:
        ValueError: it is neither.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    if name.startswith("/"):
        return Transformer(name)
    folder = name.rstrip("/").rpartition("/")[2] or "model"
    raise ValueError(
        f"expected {', '.join(ENCODERS)} or the absolute path of a folder with a transformers "
        f"model, since no model is downloaded; got '{name}'; write encoder: wordllama, or "
        f"encoder: /models/{folder}"
    )
