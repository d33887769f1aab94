"""What an earlier training left of other methods."""

from pathlib import Path
from typing import Any

import pytest

from reweight.core.files import write_json
from reweight.core.run_folder import ModelsFolder
from reweight.fit_importance import fit
from reweight.importance.artifact import ModelArtifact
from reweight.importance.methods.random import Random
from reweight.importance.training import TrainFacts

FACTS = TrainFacts(dim=1, cardinalities=(), rows=10, positives=3)


def test_where_nothing_is_trained_nothing_is_left_of_an_earlier_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, unused = ModelsFolder(tmp_path), Any
    write_json(folder.fitted, "key")
    write_json(folder.curves, {"drawn": [{"epoch": 1, "train": 0.5}]})
    monkeypatch.setattr(fit, "training_facts", lambda *_: FACTS)
    summary = fit.fit_methods(unused, unused, (Random(name="drawn"),), folder)
    assert summary == {"rows": 10, "positives": 3}
    # A network of this name is no longer there, and its losses are not those of `drawn`.
    assert ModelArtifact.described(folder.model("drawn"))[0].method == "random"
    assert not folder.fitted.exists()
    assert not folder.curves.exists()
