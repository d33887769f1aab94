"""The exported scorer in this process: equal to the batch scores, and clear about wrong rows."""

import enum
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from union import BINS, CARDINALITIES, MEMBERS, columns_of, facts_of, planted, small

from reweight.build_samples.feature_stats import FeatureStats
from reweight.build_samples.features import Features
from reweight.core.errors import SampleError, ServingError
from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.core.sequences import SequenceShape
from reweight.importance.artifact import ModelArtifact
from reweight.importance.artifact import Scorer as BatchScorer
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.methods.product import Product
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.valuation import ValuationMethod
from reweight.score_weights.policy import PolicyStats, Weighting, fit_policy, weight_in_memory
from reweight.score_weights.training_rows import MemoryRows
from reweight.serving import Score, Scorer
from reweight.serving.beside import Beside
from reweight.serving.encoder import Encoder
from reweight.serving.export import stage
from reweight.serving.export.folder import remove_exports, scorer_files
from reweight.serving.export.onnx_file import write_onnx
from reweight.serving.export.section import Exporting
from reweight.serving.manifest import Manifest, read_manifest

# With the indicators of missing values, the features of `planted`.
FEATURES = Features.model_validate(
    {
        "numeric": {"price": "price", "age": "age"},
        "categorical": {
            "item": {"value": "item", "buckets": CARDINALITIES[0]},
            "shop": {"value": "shop", "buckets": CARDINALITIES[1]},
        },
    }
)
STATS = FeatureStats(
    names=("price", "age", "price_missing", "age_missing"),
    scaling={"price": (2.0, 0.5), "age": (40.0, 10.0)},
    vocabulary={},
    cardinalities=dict(zip(("item", "shop"), CARDINALITIES, strict=True)),
)
SEGMENTS = ("a", "b", "c")
WEIGHTING = Weighting(clip_quantile=0.9, temper=0.5, mix=0.8, segment_cap=0.4, ess_refuse=0.0)
ROW: dict[str, object] = {"price": 2.5, "age": None, "item": "tea", "shop": 7}


def artifact_of(method: ImportanceMethod, batch: Batch) -> ModelArtifact:
    """As if it were trained: parameters of its own."""
    facts = facts_of(batch, bins=getattr(method.learns(), "quantile_bins", 0) or BINS)
    training = method.learns()
    epochs = method.checkpoint_choice().epochs(training.epochs, {}) if training else None
    model = method.build(facts, epochs)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
        for name, values in model.named_buffers():
            if name in ("weight", "direction", "coefficients"):
                values.copy_(torch.rand(values.shape, generator=draw))
            if name == "weight" and not method.uses_label:
                values[:, 1] = values[:, 0]
    return ModelArtifact.of(method, facts, model)


def named(name: str) -> type[ImportanceMethod]:
    return next(m for m in MEMBERS if m.model_fields["method"].default == name)


class Exported:
    """A scorer in a folder, and what the batch gives for the same rows."""

    def __init__(self, folder: Path, parts: dict[str, ModelArtifact], batch: Batch) -> None:
        self.name = list(parts)[-1]
        self.batch = batch
        scorer = BatchScorer(parts)
        scored = scorer.scored(batch)
        importance = scored.importance[self.name].numpy().astype(np.float64)
        self.label = scored.soft_labels.get(self.name)
        self.segments = [None if s == 0 else SEGMENTS[int(s) - 1] for s in segments_of(batch)]
        rows = MemoryRows({self.name: importance}, np.array([s or "" for s in self.segments]))
        method = parts[self.name].read_method()
        policy = WEIGHTING.model_copy(
            update={"map": "rank"} if method.signed or method.polarity != "valuable" else {}
        )
        stats: PolicyStats = fit_policy(rows, policy, [method])[self.name]
        self.importance = importance
        self.weight = weight_in_memory(importance, policy, stats, self.segments)
        self.folder = folder / self.name
        sections = (policy, stats), (FEATURES, STATS)
        files = scorer_files("monday", self.name, parts, *sections)
        files.write(self.folder)
        self.program = files.program
        self.scorer = Scorer.load(self.folder, threads=None)

    def beside(self) -> dict[str, Any]:
        known: dict[str, Any] = {n: v.tolist() for n, v in self.batch.extra.items()}
        known |= {"sample_id": self.batch.sample_id.tolist(), "label": self.batch.label.tolist()}
        known |= {"segment": self.segments}
        return {name: known[name] for name in self.scorer.reads}


def segments_of(batch: Batch) -> list[float]:
    values: list[float] = batch.extra["segment"].tolist()
    return values


@pytest.fixture(scope="module")
def batch() -> Batch:
    methods = tuple(small(member) for member in MEMBERS if member is not Product)
    rows, _ = planted(120, extra={*columns_of(methods), "segment"})
    segment = rows.extra["segment"]
    # Most rows are of segment a, which the policy caps.
    most = torch.where(torch.arange(120) % 2 == 0, 1.0, segment)
    return replace(rows, extra={**rows.extra, "segment": most})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, batch: Batch) -> Exported:
    method = small(named("self_confidence"))
    folder = tmp_path_factory.mktemp("export")
    return Exported(folder, {method.name: artifact_of(method, batch)}, batch)


def test_every_method_is_as_in_the_batch_or_refused_by_name(tmp_path: Path, batch: Batch) -> None:
    refused, reads = {}, {}
    for member in MEMBERS:
        if member is Product:
            continue
        method = small(member)
        try:
            own = Exported(tmp_path, {method.name: artifact_of(method, batch)}, batch)
        except ServingError as error:
            assert f"'{method.name}'" in error.what
            refused[method.name] = error.got
            continue
        reads[method.name] = own.scorer.reads
        got = own.scorer.encoded(batch.features, batch.ids, **own.beside())
        np.testing.assert_allclose(got.importance, own.importance, 1e-6, 1e-6, err_msg=method.name)
        np.testing.assert_allclose(got.weight, own.weight, 1e-6, 1e-6, err_msg=method.name)
        assert (got.label is None) == (own.label is None)
        if own.label is not None and got.label is not None:
            np.testing.assert_allclose(got.label, own.label, 1e-6, 1e-6, err_msg=method.name)
    valued = {m.model_fields["method"].default for m in MEMBERS if issubclass(m, ValuationMethod)}
    assert refused.keys() == valued | {"tracin"}, refused
    assert reads["uniform"] == ()
    # A cap on segments reads the segment.
    assert reads["class_balanced"] == ("label", "segment")
    assert reads["self_confidence"] == ("sample_id", "label", "segment")
    assert reads["ipw_position"] == ("sample_id", "label", "position", "segment")
    # The target rows are read in training alone.
    assert "target" not in reads["mw_net"]
    assert reads["group_dro"] == ("segment",)


def test_a_product_has_its_parts_inside(tmp_path: Path, batch: Batch) -> None:
    parts = [small(named("random")), small(named("reweighing"))]
    both = Product(of=("random", "reweighing"))
    artifacts = {m.name: artifact_of(m, batch) for m in parts}
    artifacts[both.name] = ModelArtifact.of(both, facts_of(batch), both.model(facts_of(batch)))
    own = Exported(tmp_path, artifacts, batch)
    got = own.scorer.encoded(batch.features, batch.ids, **own.beside())
    np.testing.assert_allclose(got.weight, own.weight, 1e-6)
    assert own.scorer.reads == ("sample_id", "label", "segment")


def test_a_row_is_scored_as_in_a_batch(exported: Exported) -> None:
    scorer, beside = exported.scorer, exported.beside()
    rows = [ROW, ROW | {"price": 1.5, "age": 33}, ROW | {"item": None, "price": float("nan")}]
    among = {name: values[:3] for name, values in beside.items()}
    batch = scorer.batch(rows, **among)
    for index, row in enumerate(rows):
        alone = scorer(row, **{name: values[index] for name, values in among.items()})
        assert isinstance(alone, Score)
        assert alone.importance == pytest.approx(batch.importance[index], rel=1e-6)
        assert alone.weight == pytest.approx(batch.weight[index], rel=1e-6)
    dense, ids = Encoder(read_manifest(exported.folder))(rows)
    encoded = scorer.encoded(dense, ids, **among)
    np.testing.assert_array_equal(encoded.weight, batch.weight)
    assert dense.tolist() == [[1, 0, 0, 1], [-1, np.float32(-0.7), 0, 0], [0, 0, 1, 1]]
    assert (ids[0] > 0).all()
    assert ids[2, 0] == 0


def test_two_exports_of_a_model_have_one_version(
    exported: Exported, tmp_path: Path, batch: Batch
) -> None:
    method = small(named("self_confidence"))
    parts = {method.name: artifact_of(method, batch)}
    again = Exported(tmp_path, parts, batch)
    assert again.scorer.version == exported.scorer.version
    assert Scorer.load(again.folder, version=again.scorer.version, threads=None)
    with pytest.raises(ServingError, match="another model version") as caught:
        Scorer.load(again.folder, version="0123456789abcdef", threads=None)
    assert caught.value.expected == "0123456789abcdef"
    assert again.scorer.version in caught.value.got
    # With design weights it reads another column, and its weights are others.
    sections = ((WEIGHTING, PolicyStats(map="identity")), (FEATURES, STATS))
    for thinned in (False, True):
        files = scorer_files("r", method.name, parts, *sections, thinned=thinned)
        files.write(tmp_path / str(thinned))
    whole, thin = (Scorer.load(tmp_path / str(t), threads=None) for t in (False, True))
    assert whole.version != thin.version
    assert "design_weight" in thin.reads
    scores = [thin(ROW, sample_id=5, label=1, design_weight=value) for value in (None, 1)]
    assert scores[0] == scores[1]


def test_wrong_files_are_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="no exported scorer"):
        Scorer.load(tmp_path / "nothing")
    folder = Path(shutil.copytree(exported.folder, tmp_path / "copy"))
    (folder / "scorer.pt").write_bytes(b"of another export")
    with pytest.raises(ServingError, match="do not belong together") as caught:
        Scorer.load(folder)
    assert caught.value.got == "another file"
    values = json.loads((folder / "scorer.json").read_text())
    (folder / "scorer.json").write_text(json.dumps(values | {"format": 1}))
    with pytest.raises(ServingError, match="another form") as caught:
        Scorer.load(folder)
    assert "format" in caught.value.got


@pytest.mark.parametrize(
    ("change", "beside", "what", "got"),
    [
        ({"price": ...}, {}, "lacks features", "missing: ['price']"),
        ({"colour": 1}, {}, "does not know", "unknown: ['colour']"),
        ({"price": "2.5"}, {}, "'price' cannot have this value", "'2.5' (str)"),
        ({"price": np.complex64(1)}, {}, "'price' cannot have this value", "(1+0j) (complex64)"),
        ({"shop": 1.5}, {}, "'shop' cannot have this value", "1.5 (float)"),
        (
            {"shop": 10**9999},
            {},
            "'shop' cannot have this value",
            "a number too long to print (int)",
        ),
        ({"item": "\ud800"}, {}, "'item' cannot have this value", "'\\ud800' (str)"),
        ({}, {"label": ...}, "more than the features", "no label"),
        ({}, {"label": 2}, "'label' cannot have this value", "2 (int)"),
        ({}, {"label": np.ones(2)}, "'label' cannot have this value", "array([1., 1.]) (ndarray)"),
        ({}, {"label": np.ones(1)}, "'label' cannot have this value", "array([1.]) (ndarray)"),
        ({}, {"sample_id": "x"}, "'sample_id' cannot have this value", "'x' (str)"),
        ({}, {"segment": 3}, "'segment' cannot have this value", "3 (int)"),
        ({}, {"price": 2.5}, "does not know these columns", "['price']"),
    ],
)
def test_wrong_rows_are_named(
    exported: Exported, change: dict[str, Any], beside: dict[str, Any], what: str, got: str
) -> None:
    row = {k: v for k, v in (ROW | change).items() if v is not ...}
    given = {"sample_id": 5, "label": 1, "segment": "a"} | beside
    with pytest.raises(ServingError, match=what) as caught:
        exported.scorer(row, **{k: v for k, v in given.items() if v is not ...})
    assert caught.value.got == got
    assert caught.value.fix


def test_wrong_arrays_are_named(exported: Exported) -> None:
    batch, scorer, beside = exported.batch, exported.scorer, exported.beside()
    with pytest.raises(ServingError, match="do not fit") as caught:
        scorer.encoded(batch.features[:, :3], batch.ids, **beside)
    assert caught.value.got == "(120, 3) and (120, 2)"
    with pytest.raises(ServingError, match="out of range"):
        scorer.encoded(batch.features, batch.ids + 4, **beside)
    with pytest.raises(ServingError, match="another number of rows") as caught:
        scorer.batch([ROW], **beside)
    assert caught.value.got == "120"


# A manifest whose features have a time.
TIMED: dict[str, Any] = {
    "version": "v",
    "run_id": "r",
    "method": "m",
    "program": "p",
    "dim": 7,
    "numeric": [
        {"name": "item", "mean": 0, "scale": 1, "optional": False, "log": False},
        {"name": "clicks_7d", "mean": 1, "scale": 2, "optional": False, "log": True},
    ],
    "cyclic": ["hour_of_day", "day_of_week"],
    "one_hot": {"item": ["tea"]},
    "categorical": {},
    "columns": [],
    "reads": [],
    "segments": [],
    "capped": [],
    "soft": False,
}


def test_names_that_two_sections_have_go_by_both() -> None:
    encoder = Encoder(read_manifest_of(TIMED))
    assert encoder.names == ("numeric.item", "clicks_7d", "event_time", "one_hot.item")
    noon = datetime(1970, 1, 1, 12, tzinfo=UTC)
    row = {"numeric.item": 3, "clicks_7d": 12, "event_time": noon, "one_hot.item": "tea"}
    dense, _ = encoder([row, row | {"event_time": 43200.9, "one_hot.item": True}])
    clicks = (np.log(13) - 1) / 2
    np.testing.assert_allclose(
        dense[0], [3, clicks, 0, -1, np.sin(np.pi / 7), np.cos(np.pi / 7), 1], atol=1e-6
    )
    np.testing.assert_array_equal(dense[1], [*dense[0][:6], 0])
    for wrong in (
        {"numeric.item": None},
        {"event_time": datetime(1970, 1, 1)},
        {"clicks_7d": -1},
    ):
        with pytest.raises(ServingError, match="cannot have this value"):
            encoder([row | wrong])


def test_times_that_cannot_be_seconds_are_refused() -> None:
    encoder = Encoder(read_manifest_of(TIMED))
    row = {"numeric.item": 3, "clicks_7d": 0, "one_hot.item": "tea"}
    end = datetime.max.replace(tzinfo=UTC)
    for wrong in (1.7e12, 10**400, 1e300, -1e14, float("nan"), True, np.bool_(True), end):
        with pytest.raises(ServingError, match="cannot have this value") as caught:
            encoder([row | {"event_time": wrong}])
        assert "divide milliseconds by 1000" in caught.value.fix
    encoder([row | {"event_time": datetime(1, 1, 1, tzinfo=UTC)}])
    encoder([row | {"event_time": np.int64(253402300799)}])


class Item(str, enum.Enum):  # noqa: UP042 - the text of such an enum is 'Item.TEA'
    TEA = "tea"


class Shop(int, enum.Enum):
    FIRST = 7


def test_values_are_read_as_in_the_log_whatever_holds_them(exported: Exported) -> None:
    encoder = Encoder(read_manifest(exported.folder))
    held = ROW | {"item": Item.TEA, "shop": Shop.FIRST, "price": 10**400}
    (dense, ids), (plain, plain_ids) = encoder([held]), encoder([ROW | {"price": None}])
    np.testing.assert_array_equal(dense, plain)
    np.testing.assert_array_equal(ids, plain_ids)


def test_null_is_no_segment_and_no_design_weight_is_one() -> None:
    columns = ["segment", "capped", "design_weight", "position"]
    values = {"columns": columns, "reads": columns, "segments": ["", "de"], "capped": [""]}
    beside = Beside(read_manifest_of(TIMED | values))
    nulls = [None, None, None]
    given = {"segment": [None, "", "de"], "design_weight": nulls, "position": nulls}
    _, numbers = beside(3, given)
    expected = [[0, 0, 1, np.nan], [1, 1, 1, np.nan], [2, 0, 1, np.nan]]
    np.testing.assert_array_equal(numbers, expected)


def test_an_export_removes_what_earlier_ones_left_and_nothing_else(tmp_path: Path) -> None:
    remove_exports(tmp_path / "export")
    files = ("scorer.json", "scorer.pt", "scorer.onnx", "rows/split=train/a.parquet", "groups/a")
    for file in [f"{m}/{f}" for m in ("gone", "kept") for f in files] + ["kept/notes.txt"]:
        path = tmp_path / "export" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    remove_exports(tmp_path / "export")
    assert [p.name for p in (tmp_path / "export").iterdir()] == ["kept"]
    assert [p.name for p in (tmp_path / "export" / "kept").iterdir()] == ["notes.txt"]


def test_statistics_of_other_features_are_refused(tmp_path: Path) -> None:
    folder = RunFolder.of(tmp_path, "r")
    write_json(folder.features, STATS.model_dump())
    sections = FEATURES.model_dump(by_alias=True)
    reordered = {"price": "price", "age": "age"}, {"age": "age", "price": "price"}
    for numeric, fits in zip(reordered, (True, False), strict=True):
        features = Features.model_validate(sections | {"numeric": numeric})
        run: Any = SimpleNamespace(
            folder=folder, config=SimpleNamespace(features=features, run_id="r")
        )
        if fits:
            assert stage._stats(run) == STATS
            continue
        with pytest.raises(SampleError, match="belong to other features") as caught:
            stage._stats(run)
        assert "run 'r'" in caught.value.expected
        assert "jobs/pipeline.py" in caught.value.fix


def test_a_product_of_a_method_that_reads_sequences_is_refused(batch: Batch) -> None:
    reading = SelfConfidence.model_validate(
        {"training": {"network": "gru", "hidden": [8], "epochs": 2, "members": 2, "embedding": 2}}
    )
    facts = facts_of(batch).model_copy(
        update={"sequence": SequenceShape(length=3, fields={"item": CARDINALITIES[0]})}
    )
    other = small(named("reweighing"))
    both = Product(of=(reading.name, other.name))
    parts = {m.name: ModelArtifact.of(m, facts, m.build(facts, (1,))) for m in (reading, other)}
    parts[both.name] = ModelArtifact.of(both, facts, both.model(facts))
    run: Any = SimpleNamespace(config=SimpleNamespace(features=Features(numeric={"price": "p"})))
    with pytest.raises(ServingError, match="'product' cannot be exported") as caught:
        stage._check_served(run, parts)
    assert "features.sequence" in caught.value.got


def test_what_is_refused_leaves_what_there_was_and_rows_need_no_scorer(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = [small(named(name)) for name in ("uniform", "class_balanced")]
    parts = {method.name: artifact_of(method, batch) for method in methods}
    stats = dict.fromkeys(parts, PolicyStats(map="identity"))
    rows = {"rows": (["of the table"], ("group_id",))}
    written: list[Path] = []
    monkeypatch.setattr(stage, "read_models", lambda *_: parts)
    monkeypatch.setattr(stage, "read_policies", lambda *_: stats)
    monkeypatch.setattr(stage, "_stats", lambda _: STATS)
    monkeypatch.setattr(stage, "write_rows", lambda _rows, folder, _order: written.append(folder))
    folder = RunFolder.of(tmp_path, "r")
    write_json(folder.export("uniform") / "scorer.json", {})
    texts = Features.model_validate({"text": {"title": {"value": "title"}}})

    def exported(features: Features, **exporting: Any) -> dict[str, Any]:
        config = SimpleNamespace(
            exporting=Exporting(**exporting),
            importance=tuple(methods),
            **{"model_folder": folder, "weighting": WEIGHTING, "features": features},
            **{"strict": False, "run_id": "r", "sampling": SimpleNamespace(counted=())},
        )
        tables = rows if exporting.get("rows") else {}
        monkeypatch.setattr(stage, "_tables", lambda *_: tables)
        run: Any = SimpleNamespace(config=config, folder=folder)
        return stage.export(run)

    for asked in ({}, {"methods": ["uniform"], "rows": True}):
        with pytest.raises(ServingError, match="'uniform' cannot be exported"):
            exported(texts, **asked)
        assert (folder.export("uniform") / "scorer.json").exists()
    summary = exported(texts, rows=True)
    assert summary["scorers"] == {}
    assert summary["left out"].keys() == parts.keys()
    assert written == [folder.export(name) / "rows" for name in parts]
    assert not (folder.export("uniform") / "scorer.json").exists()
    assert exported(FEATURES)["scorers"].keys() == parts.keys()
    assert (folder.export("uniform") / "scorer.json").exists()


def read_manifest_of(values: dict[str, Any]) -> Manifest:
    return Manifest.model_validate(values)


def test_onnx_gives_the_same_numbers_or_says_why_not(
    tmp_path: Path, exported: Exported, batch: Batch
) -> None:
    pytest.importorskip("onnx")
    for name in ("class_balanced", "group_dro", "mw_net"):
        method = small(named(name))
        own = Exported(tmp_path, {name: artifact_of(method, batch)}, batch)
        write_onnx(own.folder, name, own.program)
        assert (own.folder / "scorer.onnx").stat().st_size > 100
    with pytest.raises(ServingError, match="does not convert to ONNX") as caught:
        write_onnx(exported.folder, exported.name, exported.program)
    assert "sample_id" in caught.value.got


def test_a_scorer_needs_no_spark(exported: Exported) -> None:
    code = (
        "import sys; from reweight.serving import Scorer; "
        f"s = Scorer.load({str(exported.folder)!r}); "
        f"print(s({ROW!r}, sample_id=5, label=1, segment='a').weight); "
        "print([m for m in ('pyspark', 'delta', 'reweight.importance') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    weight, imported = done.stdout.splitlines()
    expected = exported.scorer(ROW, sample_id=5, label=1, segment="a").weight
    assert float(weight) == pytest.approx(expected)
    assert imported == "[]"
