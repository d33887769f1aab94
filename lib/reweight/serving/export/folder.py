"""A scorer's folder: the program, and then the manifest, which marks it as complete."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reweight.build_samples.feature_stats import FeatureStats
from reweight.build_samples.features import Features, numeric_features
from reweight.core.digest import digest
from reweight.core.files import write_json, write_whole
from reweight.importance.artifact import ModelArtifact
from reweight.score_weights.policy import PolicyStats, Weighting
from reweight.serving.export.program import Program, recorded
from reweight.serving.manifest import MANIFEST, ONNX, PROGRAM, Manifest, Numeric

# Folders of rows for other trainers, and of the weights of their groups.
ROWS, GROUPS = "rows", "groups"


def remove_exports(folder: Path) -> None:
    """Removes what earlier exports left of any method, and nothing else.

    Args:
        folder: of the exports of a run.
    """
    for method in folder.glob("*/"):
        # The manifest first: without it nothing is complete.
        for name in (MANIFEST, ONNX, PROGRAM):
            (method / name).unlink(missing_ok=True)
        for name in (ROWS, GROUPS):
            if (method / name).is_dir():
                shutil.rmtree(method / name)
        with contextlib.suppress(OSError):
            # Somebody else may keep files in it.
            method.rmdir()


@dataclass(frozen=True)
class ScorerFiles:
    """What a scorer's folder holds.

    Attributes:
        program: the program.
        archive: the program as a file.
        manifest: everything else.
    """

    program: Program
    archive: bytes
    manifest: Manifest

    def write(self, folder: Path) -> None:
        """Writes the files into a folder."""
        write_whole(folder / PROGRAM, self.archive)
        write_json(folder / MANIFEST, self.manifest.model_dump())


def scorer_files(
    run_id: str,
    name: str,
    artifacts: Mapping[str, ModelArtifact],
    weighting: tuple[Weighting, PolicyStats],
    features: tuple[Features, FeatureStats],
    *,
    thinned: bool = False,
) -> ScorerFiles:
    """The scorer of a method.

    Args:
        run_id: the run that it is of.
        name: the method.
        artifacts: its model, and those of the methods that it combines.
        weighting: the section ``weighting``, and what the policy learnt for the method.
        features: the section ``features``, and the statistics of the training rows.
        thinned: whether negatives were sampled, so that weights include ``design_weight``.

    Raises:
        ServingError: as ``recorded``.
    """
    (policy, numbers), (section, stats) = weighting, features
    program = recorded(name, artifacts, policy, numbers, thinned=thinned)
    archive = program.archive()
    manifest = Manifest(
        version=_version(artifacts, policy, numbers, stats, thinned),
        run_id=run_id,
        method=name,
        program=hashlib.sha256(archive).hexdigest(),
        dim=len(stats.names),
        numeric=tuple(
            Numeric(
                name=n.name,
                mean=stats.scaling[n.name][0],
                scale=stats.scaling[n.name][1],
                optional=n.missing is not None,
                log=n.log,
            )
            for n in numeric_features(section)
        ),
        cyclic=section.cyclic,
        # In the order of the section, which is that of the encoded features.
        one_hot={name: stats.vocabulary[name] for name in section.one_hot},
        categorical=stats.cardinalities,
        columns=program.columns,
        reads=program.reads,
        segments=program.segments,
        capped=tuple(numbers.factors),
        soft=program.soft,
    )
    return ScorerFiles(program, archive, manifest)


def _version(
    artifacts: Mapping[str, ModelArtifact],
    policy: Weighting,
    numbers: PolicyStats,
    stats: FeatureStats,
    thinned: bool,
) -> str:
    models = [
        text
        for a in artifacts.values()
        for text in (a.method, a.facts, str(a.epochs), hashlib.sha256(a.tensors).hexdigest())
    ]
    weights = (json.dumps(policy.identity()), numbers.model_dump_json(), stats.model_dump_json())
    return digest(*models, *weights, *(("design_weight",) if thinned else ()))
