"""Runs in a notebook: started from a cell, and looked at as frames, numbers and plots.

run = reweight.run("conf/demo.yaml", "run_id=monday")
run.weights.where("method = 'self_confidence'")     # a Spark DataFrame
run.metrics                                         # a pandas DataFrame
run.show()                                          # the report, in the notebook
"""

import html
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from reweight import page, tables
from reweight.config import RunConfig, read_config
from reweight.errors import RunError
from reweight.job import run_stages
from reweight.plots import plots
from reweight.runs import JobRun, Stage, read_records, run_folder, run_lock
from reweight.session import borrowed, given_session, spark_session
from reweight.stages import PIPELINE
from reweight.tables import Store, Table

_TABLES = {table.name: table for table in vars(tables).values() if isinstance(table, Table)}
# Within something: of what begins with a frame IPython warns that it has a class for addresses.
_FRAME = (
    '<div><iframe srcdoc="{page}" style="width: 100%; height: {height}px; border: 1px solid #ddd" '
    'sandbox="allow-same-origin allow-popups"></iframe></div>'
)


def run(
    config: str | Path | Mapping[str, Any], *overrides: str, stages: Sequence[Stage] = PIPELINE
) -> "RunView":
    """Runs the line in this process and says how it goes.

    A Spark session that is there is used, gets its SQL settings back afterwards, and goes on; else
    one is started, which stays for the cells that follow. A run that was broken off is taken up.

    Args:
        config: path of a YAML file, or what it would hold.
        *overrides: values over the config's: ``"run_id=today"``, ``"fitting.ranks=2"``.
        stages: those to run, in this order; all by default.

    Returns:
        The run, to look at.

    Raises:
        ReweightError: something that can be put right; the message says how.
    """
    loaded = read_config(RunConfig, config, overrides)
    with run_lock(loaded.root, loaded.run_id), _session(loaded) as spark:
        run_stages(JobRun.open(spark, loaded), stages)
    return load(loaded.run_id, root=loaded.root)


def load(run_id: str, *, root: str | Path) -> "RunView":
    """A run that has been through some stages, in this process or any other.

    Args:
        run_id: its name.
        root: folder of the tables and runs, as in its config.

    Raises:
        RunError: there is no such run.
    """
    folder = run_folder(str(root), run_id)
    if not (folder / "config.json").is_file():
        known = sorted(path.parent.name for path in folder.parent.glob("*/config.json"))
        raise RunError(
            f"there is no run '{run_id}'",
            expected=f"the folder {folder}",
            came=f"runs {known}" if known else f"no run in {folder.parent}",
            do="name one of them, or check root",
        )
    return RunView(run_id, Path(root).absolute())


@dataclass(frozen=True)
class RunView:
    """What a run has left behind. In a notebook it shows itself.

    Attributes:
        run_id: its name.
        root: folder of the tables and runs.
    """

    run_id: str
    root: Path

    @property
    def folder(self) -> Path:
        """What it left beside the tables: models, records, the report."""
        return run_folder(str(self.root), self.run_id)

    @property
    def config(self) -> dict[str, Any]:
        """Its config, with all defaults."""
        return self._json("config.json")

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """What each stage said of itself, by name, oldest first."""
        return read_records(self.folder)

    @cached_property
    def report(self) -> dict[str, Any]:
        """All that the report shows.

        Raises:
            RunError: the stage ``report`` has not been run.
        """
        return self._json("report.json")

    def table(self, name: str) -> DataFrame:
        """The run's rows of a table.

        Args:
            name: of the table, as ``events``.

        Raises:
            TableError: the run has no rows in it.
        """
        if name not in _TABLES:
            raise RunError(
                f"there is no table '{name}'",
                expected=f"one of {sorted(_TABLES)}",
                came=name,
                do="see the table of stages in the README for what they hold",
            )
        spark = given_session() or spark_session(self.folder / "spark.log")
        store = Store(spark, str(self.root), self.run_id, self.config.get("catalog"))
        return store.read(_TABLES[name]).drop("run_id")

    @property
    def events(self) -> DataFrame:
        """Clean rows of the log."""
        return self.table("events")

    @property
    def rejected(self) -> DataFrame:
        """Rows of the log that are no events, with all reasons."""
        return self.table("rejected")

    @property
    def samples(self) -> DataFrame:
        """Label, split and features of every sample."""
        return self.table("samples")

    @property
    def weights(self) -> DataFrame:
        """Importance and weight of every sample, by method."""
        return self.table("weights")

    @property
    def predictions(self) -> DataFrame:
        """What the ranker of each method says."""
        return self.table("predictions")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Values, and differences to ``uniform``, with intervals; a row each."""
        # Small by nature: some dozens of numbers per method, split and segment.
        return self.table("metrics").toPandas()

    @property
    def figures(self) -> dict[str, str]:
        """The plots of the report: name -> SVG."""
        return plots(self.report)

    def show(self, figure: str | None = None, *, height: int = 800) -> None:
        """Shows the report, or one of its plots; outside of a notebook, as text.

        Args:
            figure: name of a plot, as in ``figures``; the whole report by default.
            height: of the report, in pixels.

        Raises:
            RunError: there is no report yet, or no such plot.
        """
        if figure is None:
            content, page_path = self.report, self.folder / "report.html"
            whole = html.escape(page_path.read_text())
            text = "\n".join([*page.table(content), content["verdict"]["text"], str(page_path)])
            _display(_FRAME.format(page=whole, height=height), text)
            return
        drawn = self.figures
        if figure not in drawn:
            raise RunError(
                f"there is no plot '{figure}'",
                expected=f"one of {sorted(drawn)}",
                came=figure,
                do="leave the name out for the whole report",
            )
        _display(drawn[figure], f"{figure}: see {self.folder / 'report.html'}")

    def __repr__(self) -> str:
        lines = [f"run '{self.run_id}' in {self.root}"]
        lines += [f"  {name}: {record['status']}" for name, record in self.records.items()]
        if self._is_reported():
            lines += page.table(self.report)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows of a cell's value."""
        content = self.report if self._is_reported() else None
        values = {"run": self, "records": self.records, "content": content}
        return page.rendered("run.html.j2", values)

    def _is_reported(self) -> bool:
        return (self.folder / "report.json").is_file()

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        done = [stage for stage, record in self.records.items() if record["status"] == "done"]
        if not path.is_file():
            raise RunError(
                f"the run '{self.run_id}' has no {path.stem} yet",
                expected=str(path),
                came=f"stages done: {done}",
                do="run the stages that are left: reweight.run takes it up",
            )
        found: dict[str, Any] = json.loads(path.read_text())
        return found


@contextmanager
def _session(config: RunConfig) -> Iterator[SparkSession]:
    """The session that is there, as it was before; or one of our own, which stays."""
    given = given_session()
    with borrowed(given) if given else nullcontext():
        # Not in the run's scratch folder, which goes when the run is over.
        yield spark_session(run_folder(config.root, config.run_id) / "spark.log", config.spark)


def _display(markup: str, text: str) -> None:
    try:
        shell = importlib.import_module("IPython")
    except ImportError:
        shell = None
    if shell is None or shell.get_ipython() is None:
        print(text, flush=True)
    else:
        shell.display.display(shell.display.HTML(markup))
