"""Models are read for the methods that they were fitted for."""

from pathlib import Path

import pytest

from reweight.core.errors import TableError
from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.methods.focal import Focal
from reweight.importance.methods.random import Random
from reweight.importance.methods.uniform import Uniform
from reweight.importance.training import TrainFacts
from reweight.score_weights.models import read_models

FACTS = TrainFacts(dim=1, cardinalities=(), rows=10, positives=3, quantiles=((0.0, 1.0, 2.0, 3.0),))
STATS = {"names": ["a"], "scaling": {"a": [0.0, 1.0]}, "vocabulary": {}, "cardinalities": {}}


@pytest.fixture
def monday(tmp_path: Path) -> RunFolder:
    """A run with the models of two methods."""
    folder = RunFolder.of(tmp_path, "monday")
    write_json(folder.features, STATS)
    for method in (Random(name="drawn"), Focal()):
        ModelArtifact.of(method, FACTS, method.build(FACTS)).write(folder.models.model(method.name))
        write_json(folder.models.features(method.name), STATS)
    return folder


@pytest.mark.parametrize(
    ("method", "expected", "got"),
    [
        (Uniform.model_construct(name="drawn"), "method: uniform", "method: random"),
        (Focal(gamma=0.5), "gamma: 0.5", f"gamma: {Focal().gamma}"),
    ],
    ids=["another method", "another setting"],
)
def test_a_model_of_other_settings_scores_nothing(
    method: ImportanceMethod, expected: str, got: str, monday: RunFolder, tmp_path: Path
) -> None:
    read_models(monday.models, (Random(name="drawn"), Focal()), monday.features)
    tuesday = RunFolder.of(tmp_path, "tuesday")
    write_json(tuesday.features, STATS)
    for features, fix in (
        (monday.features, "run the stage 'fit_importance' again"),
        (tuesday.features, "as run 'monday' has it"),
    ):
        with pytest.raises(TableError, match="not that of its settings") as caught:
            read_models(monday.models, (method,), features)
        assert expected in caught.value.expected
        assert got in caught.value.got
        assert fix in caught.value.fix
