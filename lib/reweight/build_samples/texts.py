"""The sections ``features.text`` and ``features.similarity``."""

from collections.abc import Mapping

from pydantic import Field, field_validator, model_validator

from reweight.build_samples.encoders import ENCODERS, Encoder, encoder_of
from reweight.core.errors import ConfigError
from reweight.core.section import Place, Section, Sql, repeated


class EncodedText(Section):
    """A text, as the vector of an encoder.

    Attributes:
        value: expression of type string. Null and empty texts are encoded as zeros and marked by
            the feature ``<name>_missing``; of a long text the first 4,000 characters are read.
        encoder: ``hashed`` (words and n-grams, needs nothing), ``wordllama`` (pretrained vectors
            in a package of 17 MB), or the absolute path of a folder with a transformers model.
            Nothing is downloaded.
        dim: number of features, ``<name>_0`` and so on. ``wordllama`` has 256, of which the first
            ones are taken. The vectors of the others are reduced by a fixed random projection,
            which keeps cosines up to about 1 / sqrt(dim).
        in_features: whether the vector itself is part of the features; false for a text that only
            ``similarity`` compares, at whatever ``dim``.
    """

    value: Sql
    encoder: Place = "hashed"
    dim: int = Field(default=32, ge=1, le=8192)
    in_features: bool = True

    @field_validator("encoder")
    @classmethod
    def _is_known(cls, encoder: str) -> str:
        encoder_of(encoder)
        return encoder

    @model_validator(mode="after")
    def _fits(self) -> "EncodedText":
        # The width of a folder's model is read when a job begins.
        if self.encoder in ENCODERS and self.dim > (width := self.encodes.width):
            raise ValueError(
                f"dim: expected at most {width}, as many numbers as {self.encoder} gives, got "
                f"{self.dim}; write dim: {width}"
            )
        return self

    @property
    def encodes(self) -> Encoder:
        """The encoder."""
        return encoder_of(self.encoder)


def check_similarity(
    texts: Mapping[str, EncodedText], pairs: Mapping[str, tuple[str, str]]
) -> None:
    """Checks that similarities compare texts that can be compared.

    Raises:
        ValueError: some do not, or a text is neither a feature nor compared.
    """
    for name, (first, second) in pairs.items():
        unknown = [text for text in (first, second) if text not in texts]
        if unknown or repeated([first, second]):
            examples = list(texts)[:2] if len(texts) > 1 else ["query", "title"]
            raise ValueError(
                f"similarity.{name}: expected two names out of features.text, which has "
                f"{sorted(texts)}; got {[first, second]}; write {name}: [{', '.join(examples)}]"
            )
        a, b = texts[first], texts[second]
        if (a.encoder, a.dim) != (b.encoder, b.dim):
            raise ValueError(
                f"similarity.{name}: expected texts of one encoder and dim, got {first}: "
                f"{{encoder: {a.encoder}, dim: {a.dim}}} and {second}: {{encoder: {b.encoder}, "
                f"dim: {b.dim}}}; write encoder: {a.encoder} and dim: {a.dim} in text.{second}"
            )
    compared = {text for pair in pairs.values() for text in pair}
    for name, text in texts.items():
        if not text.in_features and name not in compared:
            raise ValueError(
                f"text.{name}: with in_features: false it has no effect, since no `similarity` "
                f"compares it; write similarity: {{likeness: [{name}, ...]}}, or remove it"
            )


def check_encoders(texts: Mapping[str, EncodedText]) -> None:
    """Checks that the encoders can be used, before any work is done.

    Raises:
        SetupError: a package is not installed.
        ConfigError: a model's folder is missing or incomplete, or ``dim`` is larger than its
            vectors.
    """
    for name, text in texts.items():
        text.encodes.check()
        if text.dim > (width := text.encodes.width):
            raise ConfigError(
                f"features.text.{name}.dim is larger than the encoder's vectors",
                expected=f"at most {width}, as many numbers as {text.encoder} gives",
                got=str(text.dim),
                fix=f"write dim: {width}, or less",
            )


def identities(texts: Mapping[str, EncodedText]) -> dict[str, str]:
    """What the vectors of each text depend on: encoder, version and dim."""
    return {name: f"{text.encodes.identity()}, dim {text.dim}" for name, text in texts.items()}
