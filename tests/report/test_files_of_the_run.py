"""What the report takes from files: only what belongs to the models and samples of the run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.report.stage import _losses, _visible, diagnosis

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


def test_a_diagnosis_of_earlier_samples_is_none(tmp_path: Path) -> None:
    folder = RunFolder.of(tmp_path, "tuesday")
    run: Any = SimpleNamespace(folder=folder)
    none = diagnosis(run)
    assert _visible(run) is None
    write_json(folder.content("diagnose"), {"visible": ["position bias"]})
    seen = []
    for stage, hour in (("build_samples", 1), ("diagnose", 2), ("build_samples", 3)):
        write_json(folder.record(stage), {"started": f"2026-01-01T0{hour}:00:00+00:00"})
        seen.append((_visible(run), diagnosis(run)["diagnosis"]))
    assert [visible for visible, _ in seen[1:]] == [["position bias"], None]
    assert seen[1][1] != seen[2][1] != none["diagnosis"]
