"""A recorded program as ONNX, where it converts.

The file takes what the program takes: encoded features, ids and columns; names, scales and
vocabularies are in ``scorer.json``.
"""

import io
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from reweight.core.errors import ServingError, SetupError
from reweight.core.files import write_whole
from reweight.serving.export.program import Program
from reweight.serving.manifest import ONNX

_INPUTS = ("sample_id", "features", "ids", "columns")
_OPSET = 17


def check_onnx() -> None:
    """Checks that ONNX is installed.

    Raises:
        SetupError: it is not.
    """
    if find_spec("onnx") is None:
        raise SetupError(
            "exporting.onnx needs the package onnx",
            expected="the extra onnx",
            got="no module of this name",
            fix="pip install 'reweight[onnx]', or leave exporting.onnx out",
        )


def write_onnx(folder: Path, name: str, program: Program) -> None:
    """Writes the program as ONNX and compares it with the program.

    Raises:
        ServingError: it does not convert, or gives other numbers.
    """
    if "sample_id" in program.reads:
        raise _refused(name, "a hash of sample_id, for which ONNX lacks 64-bit shifts")
    content = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                program.script,
                program.example,
                content,  # type: ignore[arg-type]
                dynamo=False,
                opset_version=_OPSET,
                input_names=list(_INPUTS),
                output_names=["scores"],
                dynamic_axes={n: {0: "rows"} for n in (*_INPUTS, "scores")},
            )
        got = _evaluated(content.getvalue(), program)
    except Exception as error:  # the exporter raises whatever an operator's converter raises
        raise _refused(name, f"{type(error).__name__}: {error!s:.200}") from error
    expected = program.script(*program.example).numpy()
    if not np.allclose(got, expected, rtol=1e-6, atol=1e-6):
        raise _refused(name, f"numbers that differ by up to {np.abs(got - expected).max():.2g}")
    write_whole(folder / ONNX, content.getvalue())


def _evaluated(content: bytes, program: Program) -> np.ndarray:  # type: ignore[type-arg]
    """The scores of the example by ONNX's own reference."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load_model_from_string(content)
    used = {value.name for value in model.graph.input}
    feeds = {n: v.numpy() for n, v in zip(_INPUTS, program.example, strict=True) if n in used}
    (scores,) = ReferenceEvaluator(model).run(None, feeds)
    return np.asarray(scores)


def _refused(name: str, got: str) -> ServingError:
    return ServingError(
        f"'{name}' does not convert to ONNX",
        expected="operators that ONNX has, with equal results",
        got=" ".join(got.split()),
        fix="use scorer.pt",
    )
