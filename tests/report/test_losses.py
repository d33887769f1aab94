"""The losses that the report shows are those of the models that the run uses."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.report.stage import _losses

CURVES = {"self_confidence": [{"epoch": 1, "train": 0.5}]}


@pytest.mark.parametrize(("model_run_id", "shown"), [(None, CURVES), ("monday", {})])
def test_a_run_with_the_models_of_another_one_shows_no_losses(
    model_run_id: str | None, shown: dict[str, Any], tmp_path: Path
) -> None:
    folder = RunFolder.of(tmp_path, "tuesday")
    run: Any = SimpleNamespace(folder=folder, config=SimpleNamespace(model_run_id=model_run_id))
    assert _losses(run) == {}
    write_json(folder.models.curves, CURVES)
    assert _losses(run) == shown
