"""The scorer: an exported program in this process, without Spark.

A folder holds ``scorer.pt``, a TorchScript archive with the method's formula, its parameters and
the weight policy, and ``scorer.json`` with the statistics of the features. Nothing in it is
unpickled by Python: torch's own reader takes an archive apart, and knows tensors and operators
only. An archive is still a program, so its SHA-256 has to be that of ``scorer.json``.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reweight.core.errors import ServingError
from reweight.serving.beside import Beside
from reweight.serving.encoder import Encoder
from reweight.serving.manifest import PROGRAM, Manifest, read_manifest

# So often torch profiles and optimises a program before it runs at its full speed.
_WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Score:
    """What a method says of a row.

    Attributes:
        importance: raw output of the method.
        weight: weight for the ranker.
        label: soft label to train on; None where the recorded label is used.
    """

    importance: float
    weight: float
    label: float | None = None


@dataclass(frozen=True)
class Scores:
    """What a method says of N rows.

    Attributes:
        importance: float64 [N].
        weight: float64 [N].
        label: soft labels, float64 [N]; None where the recorded labels are used.
    """

    importance: NDArray[np.float64]
    weight: NDArray[np.float64]
    label: NDArray[np.float64] | None = None


class Scorer:
    """Importance and weight of rows, equal to those of ``score_weights``.

    Args:
        program: the TorchScript program.
        manifest: what it reads and returns.

    Attributes:
        features: names of the features that a row has to have.
        reads: what importance depends on besides the features, such as ``label``: to be given by
            name.
        version: identifies the model, the weight policy and the statistics of the features.
        method: name of the method.
    """

    def __init__(self, program: Any, manifest: Manifest) -> None:
        self._program, self._manifest = program, manifest
        self._encoder, self._beside = Encoder(manifest), Beside(manifest)
        self.features, self.reads = self._encoder.names, self._beside.reads
        self.version, self.method = manifest.version, manifest.method
        sizes = (manifest.dim, len(manifest.categorical), len(manifest.columns))
        features, ids, columns = (np.zeros((1, size), np.float32) for size in sizes)
        for _ in range(_WARM_UP):
            self._run(np.zeros(1, np.int64), features, ids.astype(np.int64), columns)

    @classmethod
    def load(
        cls, folder: str | Path, *, version: str | None = None, threads: int | None = 1
    ) -> "Scorer":
        """Loads the exported scorer of a method.

        Args:
            folder: ``<root>/runs/<run_id>/export/<method>``, or a copy of it.
            version: the version that the caller expects; None for any.
            threads: threads of torch in this process, which is its own setting; None leaves it. A
                row is too small to share, and waiting for a second thread costs more than a row.

        Raises:
            ServingError: there is no scorer, it has another version, or its files do not belong
                together.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if version is not None and version != manifest.version:
            raise ServingError(
                f"the scorer of '{manifest.method}' has another model version",
                expected=version,
                got=f"{manifest.version}, exported from run '{manifest.run_id}'",
                fix="deploy the folder of the version that is expected, or expect this one",
            )
        path = folder / PROGRAM
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != manifest.program:
            raise ServingError(
                "the files of the scorer do not belong together",
                expected=f"{path} with the SHA-256 {manifest.program[:16]}...",
                got="another file" if content else "no such file",
                fix="copy the whole folder again, or export it again",
            )
        if threads is not None:
            torch.set_num_threads(threads)
        return cls(torch.jit.load(io.BytesIO(content), map_location="cpu"), manifest)  # type: ignore[no-untyped-call]

    def __call__(self, row: Mapping[str, object], **beside: object) -> Score:
        """The score of a row.

        Args:
            row: every feature by its name in the config, before scaling; None for a missing value.
            **beside: what ``reads`` names, such as ``label=1``.

        Raises:
            ServingError: a feature is missing, unknown or of another type, or something that
                ``reads`` names is.
        """
        ids, columns = self._beside(1, {name: (value,) for name, value in beside.items()})
        (numbers,) = self._run(ids, *self._encoder((row,)), columns).tolist()
        return Score(*numbers)

    def batch(self, rows: Sequence[Mapping[str, object]], **beside: Sequence[object]) -> Scores:
        """The scores of several rows.

        Args:
            rows: as for one row.
            **beside: a sequence of values for each name.

        Raises:
            ServingError: as for one row.
        """
        ids, columns = self._beside(len(rows), beside)
        return _scores(self._run(ids, *self._encoder(rows), columns))

    def encoded(self, features: Any, ids: Any = None, **beside: Sequence[object]) -> Scores:
        """The scores of rows that are encoded already, as in the table ``samples``.

        Args:
            features: [N, D].
            ids: hashed categorical values, [N, F]; may be left out if there are none.
            **beside: a sequence of values for each name.

        Raises:
            ServingError: arrays of another shape, or ids out of range.
        """
        dense = np.array(features, np.float32)
        hashed = np.zeros((len(dense), 0), np.int64) if ids is None else np.array(ids, np.int64)
        sizes = np.array(list(self._manifest.categorical.values()), np.int64)
        shapes, got = [(len(dense), self._manifest.dim), (len(dense), len(sizes))], [dense.shape]
        got.append(hashed.reshape(len(dense), -1).shape if not len(sizes) else hashed.shape)
        if got != shapes:
            raise ServingError(
                "the arrays do not fit the model",
                expected=f"features {shapes[0]} and ids {shapes[1]}",
                got=f"{got[0]} and {got[1]}",
                fix="take `features` and `ids` of the table samples of the model's run",
            )
        hashed = hashed.reshape(shapes[1])
        if ((hashed < 0) | (hashed >= sizes)).any():
            raise ServingError(
                "ids are out of range",
                expected=f"0 to below {sizes.tolist()}",
                got=f"{hashed.min(0).tolist()} to {hashed.max(0).tolist()}",
                fix="take `ids` of the table samples of the model's run",
            )
        sample_id, columns = self._beside(len(dense), beside)
        return _scores(self._run(sample_id, dense, hashed, columns))

    def _run(self, *arrays: NDArray[Any]) -> NDArray[np.float64]:
        """Importance, weight and perhaps a soft label, [N, 2 or 3]."""
        with torch.inference_mode():
            numbers: NDArray[np.float64] = self._program(*map(torch.from_numpy, arrays)).numpy()
        return numbers


def _scores(numbers: NDArray[np.float64]) -> Scores:
    return Scores(*numbers.T)
