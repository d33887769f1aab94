"""The stages of the detection benchmark.

Reads:
    The tables in ``benchmark.tables``: public ones in files, or samples of finished runs.

Writes:
    The table ``benchmark``, ``benchmark.html`` and ``benchmark.json``.

Refuses:
    Files that are missing or lack a column. A method that fails on a cell is shown as failed, with
    the reason.
"""

import itertools
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.benchmark import incremental
from reweight.benchmark.detection import page
from reweight.benchmark.detection.detection import judged
from reweight.benchmark.detection.protocol import Cell, cells
from reweight.benchmark.detection.public import Data, PublicTable, SampleTable, read_table
from reweight.config import BenchmarkRun
from reweight.core import hashing
from reweight.core.files import write_json
from reweight.core.revision import revision
from reweight.core.run_folder import read_records
from reweight.core.session_kind import check_sent
from reweight.core.store_places import open_store
from reweight.core.tables import BENCHMARK, SAMPLES


def benchmark(run: BenchmarkRun) -> dict[str, Any]:
    """Judges every method on every cell of the benchmark; cells that are done are skipped.

    A cell is a table, a kind of damage, its rate and a seed. Each cell is a single-threaded Spark
    task.
    """
    cell_of = {key: cell for cell, key in _cell_keys(run).items()}
    done_keys = incremental.done(run, BENCHMARK, "cell", list(cell_of))
    # Small by nature: public tables with about ten thousand rows.
    names = dict.fromkeys(cell.table for key, cell in cell_of.items() if key not in done_keys)
    tables = {name: _data(run, name) for name in names}

    def judged(keys: list[str]) -> DataFrame:
        return _judged(run, [(cell_of[key], key) for key in keys], tables)

    computed = incremental.in_pieces(run, BENCHMARK, "cell", list(cell_of), done_keys, judged)
    rows = incremental.found(run, BENCHMARK, "cell", list(cell_of))
    failed = rows[rows["name"] == "failed"]
    reasons = failed.groupby("method")["reason"].first().to_dict()
    return {"cells": len(cell_of), "done now": computed, "failed": len(failed)} | reasons


def benchmark_report(run: BenchmarkRun) -> dict[str, Any]:
    """Writes the page of the benchmark, also as JSON."""
    published = run.config.benchmark.published
    figures = pd.read_csv(published) if published and Path(published).is_file() else None
    records = {k: r for k, r in read_records(run.folder).items() if r["status"] != "running"}
    content = page.content(
        config=run.config.kept(),
        methods=run.config.importance,
        records=records,
        rows=incremental.found(run, BENCHMARK, "cell", list(_cell_keys(run).values())),
        published=figures,
    )
    write_json(run.folder.content("benchmark"), content)
    path = run.folder.page("benchmark")
    path.write_text(page.render(content))
    for line in page.table(content):
        run.say(line)
    return {"report": str(path)}


def _cell_keys(run: BenchmarkRun) -> dict[Cell, str]:
    """The cells of the config, each with a key of everything that its result depends on."""
    section = run.config.benchmark
    methods = [m.model_dump_json(by_alias=True) for m in run.config.importance]
    return {
        cell: cell.key(section.identity(cell.table), *methods, revision())
        for cell in cells(section)
    }


def _judged(run: BenchmarkRun, chunk: list[tuple[Cell, str]], tables: dict[str, Data]) -> DataFrame:
    """The rows of some cells, one task per cell."""
    section, methods = run.config.benchmark, run.config.importance
    names = [field.name for field in BENCHMARK.columns() or () if field.name != "run_id"]
    schema = (BENCHMARK.schema or "").replace(" not null", "")
    sent = {cell.table: tables[cell.table] for cell, _ in chunk}
    check_sent(run.spark, len(pickle.dumps(sent)), "the tables of the benchmark")

    def judge(parts: Iterable[pd.DataFrame]) -> Iterable[pd.DataFrame]:
        for number in itertools.chain.from_iterable(batch["id"] for batch in parts):
            cell, key = chunk[number]
            results = judged(cell, sent[cell.table], methods, section)
            rows = pd.DataFrame([{"cell": key} | row for row in results])
            yield rows[names].astype({"share": float, "value": float})

    return run.spark.range(len(chunk), numPartitions=len(chunk)).mapInPandas(judge, schema)


def _data(run: BenchmarkRun, name: str) -> Data:
    table = run.config.benchmark.tables[name]
    return read_table(name, table) if isinstance(table, PublicTable) else _samples(run, table)


def _samples(run: BenchmarkRun, table: SampleTable) -> Data:
    """Mature samples of a finished run, as many as the config asks for."""
    store = open_store(run.spark, str(Path(table.root).absolute()), table.run_id, table.catalog)
    rows = (
        store.read(SAMPLES)
        .where("mature AND label IS NOT NULL")
        .orderBy(hashing.uniform(0, "benchmark", F.col("sample_id")), "sample_id")
        .limit(table.rows)
        .select("features", "ids", "label")
        .toPandas()
    )
    features, ids = (np.array(rows[c].tolist(), dtype=float) for c in ("features", "ids"))
    return Data.of(features, ids.reshape(len(rows), -1), rows["label"].to_numpy())
