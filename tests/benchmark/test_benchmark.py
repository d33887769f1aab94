"""The benchmark as a job runs it: cells into a table, and a page of them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError
from pyspark.sql import SparkSession

from reweight.benchmark import incremental as pieces
from reweight.benchmark.detection import stage as stages
from reweight.benchmark.detection.detection import judged
from reweight.benchmark.detection.public import read_table
from reweight.config import BenchmarkConfig, BenchmarkRun, read_config
from reweight.core.errors import SourceError, TableError
from reweight.core.store_places import open_store
from reweight.core.tables import BENCHMARK, SAMPLES
from reweight.runner.records import run_stage


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 2))
    rows = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "target": x.sum(axis=1)})
    rows.to_csv(folder / "line.csv", index=False)
    written = {
        "run_id": "small",
        "root": str(folder / "out"),
        "benchmark": {
            "tables": {
                "line": {"path": str(folder / "line.csv"), "label": "target", "below_mean": True}
            },
            "seeds": 1,
            "train": 100,
            "validation": 20,
            "test": 100,
            "trees": 10,
            "removed": [0.2],
            "method_seeds": 0,
        },
        "importance": [{"method": "class_balanced"}],
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(written))
    return path


def opened(spark: SparkSession, config: Path, *overrides: str) -> BenchmarkRun:
    return BenchmarkRun.open(spark, read_config(BenchmarkConfig, str(config), overrides))


@pytest.fixture(scope="module")
def run(spark: SparkSession, config: Path) -> Iterator[BenchmarkRun]:
    run = opened(spark, config)
    assert run_stage(run, stages.benchmark)["done now"] == 2
    yield run


def test_the_table_holds_what_a_cell_says(run: BenchmarkRun) -> None:
    found = run.store.read(BENCHMARK).toPandas()
    names = ["random", "uniform", "oracle", "random_forest_oob", "class_balanced"]
    assert set(found["method"]) == set(names)
    section = run.config.benchmark
    (cell, *_) = stages._cell_keys(run)
    data = read_table("line", section.tables["line"])  # type: ignore[arg-type]
    wanted = pd.DataFrame(judged(cell, data, run.config.importance, section))
    both = wanted.merge(
        found, on=["table", "damage", "rate", "seed", "method", "name", "share"], how="left"
    )
    both = both[~both["name"].str.contains("seconds")]
    np.testing.assert_allclose(both["value_x"], both["value_y"], rtol=1e-9)


def test_the_page_is_written(run: BenchmarkRun, logged: Callable[[], str]) -> None:
    run_stage(run, stages.benchmark_report)
    content = json.loads((run.folder.content("benchmark")).read_text())
    assert content["cells"] == 2
    assert content["methods"][0] == "oracle"
    assert "<svg" in (run.folder.page("benchmark")).read_text()
    assert "random_forest_oob" in logged()


def test_cells_that_are_done_are_not_done_again_and_more_seeds_add_to_them(
    spark: SparkSession, config: Path, run: BenchmarkRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run.store.read(BENCHMARK).toPandas()
    # A commit for every two cells, and the second one is never reached.
    monkeypatch.setattr(pieces, "_PER_SLOT", 1)
    more = opened(spark, config, "benchmark.seeds=3")
    writes: list[str | None] = []
    write = type(more.store).write

    def once(store: Any, table: Any, rows: Any, where: str | None = None) -> int:
        if writes:
            raise KeyboardInterrupt
        writes.append(where)
        return write(store, table, rows, where)

    monkeypatch.setattr(type(more.store), "write", once)
    with pytest.raises(KeyboardInterrupt):
        run_stage(more, stages.benchmark)
    monkeypatch.undo()
    assert run_stage(more, stages.benchmark)["done now"] == 2
    after = more.store.read(BENCHMARK).toPandas()
    assert after["cell"].nunique() == 6
    # The seconds of a cell are never the same twice: those that were there are there still.
    order = ["cell", "method", "name", "share"]
    kept = after[after["cell"].isin(before["cell"])].sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(kept, before.sort_values(order, ignore_index=True))


def test_other_settings_do_all_cells_anew(spark: SparkSession, config: Path) -> None:
    other = opened(spark, config, "run_id=other", "benchmark.rates=[0.2]")
    assert run_stage(other, stages.benchmark)["done now"] == 1
    changed = opened(spark, config, "run_id=other", "benchmark.rates=[0.2]", "benchmark.trees=11")
    assert run_stage(changed, stages.benchmark)["done now"] == 1
    assert changed.store.read(BENCHMARK).select("cell").distinct().count() == 1


def test_samples_of_a_run_are_a_table_like_any(
    spark: SparkSession, config: Path, tmp_path: Path
) -> None:
    made = spark.range(400).selectExpr(
        "id as sample_id",
        "concat('g', id) as group_id",
        "timestamp '2026-01-01' as event_time",
        "if(id % 10 = 0, null, float(id % 4 = 0)) as label",
        "timestamp(null) as label_time",
        "timestamp(null) as undo_time",
        "id % 5 <> 1 as mature",
        "'train' as split",
        "false as target",
        "string(null) as segment",
        "int(null) as position",
        "double(null) as propensity",
        "double(null) as value",
        "string(null) as kept",
        "1d as design_weight",
        "double(null) as elapsed",
        "double(null) as delay",
        "double(null) as undone",
        "array(float(id), float(-3)) as features",
        "array(int(id % 3)) as ids",
        "cast(null as array<int>) as sequence_ids",
        "cast(null as array<float>) as sequence_gaps",
    )
    open_store(spark, str(tmp_path), "day").write(SAMPLES, made)
    tables = f"benchmark.tables={{day: {{root: '{tmp_path}', run_id: day, rows: 250}}}}"
    run = opened(spark, config, "run_id=samples", tables)
    data = stages._data(run, "day")
    # Labels that are not known, or not yet, cannot be taken to be true.
    assert len(data) == 250 < 280 == sum(i % 10 > 0 and i % 5 != 1 for i in range(400))
    assert stages._data(run, "day").label.tolist() == data.label.tolist()
    assert data.features[:, 1].tolist() == [0.0] * 250
    assert data.cardinalities == (3,)
    assert run_stage(run, stages.benchmark)["failed"] == 0
    found = (
        run.store.read(BENCHMARK)
        .where("table = 'day' and method = 'oracle' and name = 'auroc'")
        .toPandas()
    )
    assert found["value"].tolist() == [1.0, 1.0]
    nobody = opened(
        spark, config, "run_id=samples", tables.replace("run_id: day", "run_id: nobody")
    )
    with pytest.raises(TableError, match="nothing for run 'nobody'"):
        run_stage(nobody, stages.benchmark)


def test_a_table_that_is_not_there_stops_before_the_first_cell(
    spark: SparkSession, config: Path
) -> None:
    nowhere = opened(spark, config, "run_id=none", "benchmark.tables.line.path=/no.csv")
    with pytest.raises(SourceError, match="table 'line'"):
        run_stage(nowhere, stages.benchmark)


def test_controls_are_always_there_and_their_names_are_taken(config: Path) -> None:
    names = [m.name for m in read_config(BenchmarkConfig, str(config)).importance]
    assert names == ["class_balanced", "random", "uniform"]
    with pytest.raises(ValidationError, match="oracle"):
        BenchmarkConfig.model_validate(
            yaml.safe_load(config.read_text())
            | {"importance": [{"method": "random", "name": "oracle"}]}
        )
