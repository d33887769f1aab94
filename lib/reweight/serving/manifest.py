"""What an exported scorer reads and returns: the file ``scorer.json`` beside its program."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from reweight.core.errors import ServingError
from reweight.core.section import Section

PROGRAM, MANIFEST, ONNX = "scorer.pt", "scorer.json", "scorer.onnx"


class Numeric(Section):
    """A standardised feature: (x - mean) / scale, or (log(1 + x) - mean) / scale.

    Attributes:
        name: its name.
        mean: over the training rows.
        scale: of the training rows.
        optional: whether it may be missing; it then has an indicator.
        log: whether it is a count or an age, whose logarithm is standardised.
    """

    name: str
    mean: float
    scale: float
    optional: bool
    log: bool


class Manifest(Section):
    """Everything that a scorer needs besides its program.

    Attributes:
        format: of the folder.
        version: identifies the model, the weight policy with or without design weights, and the
            statistics of the features: two exports of the same model have the same version.
        run_id: the run that it was exported from.
        method: name of the method.
        program: SHA-256 of the program's file.
        dim: D, length of the encoded features.
        numeric: the standardised features, in order.
        cyclic: parts of ``event_time``, each as sine and cosine.
        one_hot: feature -> the values that have an encoded feature.
        categorical: feature -> number of ids.
        columns: what the program gets of a row besides its features, in order.
        reads: what of that, and of ``sample_id``, importance depends on.
        segments: the segments that the method knows; column ``segment`` counts them from 1.
        capped: the segments whose weight is capped; column ``capped`` counts them from 1.
        soft: whether the program returns a soft label too.
    """

    format: Literal[2] = 2
    version: str
    run_id: str
    method: str
    program: str
    dim: int
    numeric: tuple[Numeric, ...]
    cyclic: tuple[str, ...]
    one_hot: dict[str, tuple[str, ...]]
    categorical: dict[str, int]
    columns: tuple[str, ...]
    reads: tuple[str, ...]
    segments: tuple[str, ...]
    capped: tuple[str, ...]
    soft: bool


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of an exported scorer.

    Raises:
        ServingError: there is none, or another release wrote it in another form.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ServingError(
            "there is no exported scorer",
            expected=str(path),
            got="no such file",
            fix="run jobs/export.py with the config of the run, and give the folder of one method, "
            "<root>/runs/<run_id>/export/<method>",
        )
    try:
        return Manifest.model_validate_json(path.read_text())
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ServingError(
            "the scorer was exported in another form",
            expected="a scorer.json of format 2",
            got="; ".join(problems[:3]),
            fix="export it again with the release that loads it",
        ) from error
