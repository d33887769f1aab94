"""Runs in a notebook: started from a cell, and shown as frames, numbers and plots.

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

from reweight.config import RunConfig, read_config
from reweight.core.errors import RunError
from reweight.core.left_out import left_out
from reweight.core.logging import log_to_console
from reweight.core.run import JobRun, Stage
from reweight.core.run_folder import RunFolder, read_records
from reweight.core.section import expanded
from reweight.core.session import borrowed, given_session, spark_session
from reweight.core.store_places import open_store
from reweight.core.tables import BY_NAME
from reweight.report import page
from reweight.report.plots import PLOTS, plots
from reweight.runner.job import run_stages
from reweight.runner.lock import run_lock
from reweight.runner.pipeline import PIPELINE

# Inside another element, because IPython warns about HTML that starts with an iframe.
_FRAME = (
    '<div><iframe srcdoc="{page}" style="width: 100%; height: {height}px; border: 1px solid #ddd" '
    'sandbox="allow-same-origin allow-popups"></iframe></div>'
)


def run(
    config: str | Path | Mapping[str, Any],
    *overrides: str,
    stages: Sequence[Stage] = PIPELINE,
    again: str | None = None,
) -> "RunView":
    """Runs the pipeline in this process and logs its progress.

    An existing Spark session is used, keeps running, and gets its SQL settings back afterwards;
    otherwise one is started, which stays for the following cells. Stages that were run before are
    kept if nothing that they depend on has changed.

    Args:
        config: path of a YAML file, or its content.
        *overrides: values that override the config's: ``"run_id=today"``, ``"fitting.ranks=2"``.
        stages: the stages to run, in this order; the whole pipeline by default.
        again: name of the first stage to run even if nothing has changed.

    Returns:
        A view of the run.

    Raises:
        ReweightError: a problem that the user can fix; the message says how.
    """
    loaded = read_config(RunConfig, config, overrides)
    log_to_console()
    folder = RunFolder.of(loaded.root, loaded.run_id)
    with run_lock(folder), _session(loaded, folder) as spark:
        run_stages(JobRun.open(spark, loaded), stages, again=again)
    return load(loaded.run_id, root=loaded.root)


def load(run_id: str, *, root: str | Path) -> "RunView":
    """Opens a run that has completed some stages, in this process or another.

    Args:
        run_id: its name.
        root: folder of the tables and runs, as in its config.

    Raises:
        RunError: there is no such run.
    """
    root = expanded(str(root))
    folder = RunFolder.of(root, run_id)
    if not folder.config.is_file():
        runs = folder.path.parent
        run_ids = sorted(path.parent.name for path in runs.glob(f"*/{folder.config.name}"))
        raise RunError(
            f"there is no run '{run_id}'",
            expected=f"the folder {folder.path}",
            got=f"runs {run_ids}" if run_ids else f"no run in {runs}",
            fix="use the name of an existing run, or check `root`",
        )
    return RunView(run_id, Path(root).absolute())


@dataclass(frozen=True)
class RunView:
    """The results of a run. A notebook displays it as a page.

    Attributes:
        run_id: its name.
        root: folder of the tables and runs.
    """

    run_id: str
    root: Path

    @property
    def folder(self) -> Path:
        """The run's files beside the tables: models, records, the report."""
        return self._folder.path

    @property
    def _folder(self) -> RunFolder:
        return RunFolder.of(self.root, self.run_id)

    @property
    def config(self) -> dict[str, Any]:
        """The run's config, with all defaults."""
        return self._json(self._folder.config)

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The record of each stage, by stage name, oldest first."""
        return read_records(self._folder)

    @property
    def left_out(self) -> dict[str, str]:
        """The methods that the run goes on without, each with the reason."""
        return left_out(self._folder)

    @cached_property
    def report(self) -> dict[str, Any]:
        """Everything that the report shows.

        Raises:
            RunError: the stage ``report`` has not been run.
        """
        return self._json(self._folder.content("report"))

    def table(self, name: str) -> DataFrame:
        """The run's rows of a table.

        Args:
            name: name of the table, such as ``events``.

        Raises:
            RunError: there is no such table.
            TableError: the run has no rows in it.
        """
        if name not in BY_NAME:
            raise RunError(
                f"there is no table '{name}'",
                expected=f"one of {sorted(BY_NAME)}",
                got=name,
                fix="use one of these names; see docs/pipeline.md for what the tables hold",
            )
        spark = given_session() or spark_session(self._folder.spark_log)
        store = open_store(spark, str(self.root), self.run_id, self.config.get("catalog"))
        table = BY_NAME[name]
        # A stage that is done may have had no row to write, such as a rejected one.
        done = self.records.get(table.made_by, {}).get("status") == "done"
        return store.read(table, may_be_empty=done).drop("run_id")

    @property
    def events(self) -> DataFrame:
        """The events: valid lines of the log."""
        return self.table("events")

    @property
    def rejected(self) -> DataFrame:
        """Lines of the log that are not valid events, with all reasons."""
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
        """Predictions of each method's ranker."""
        return self.table("predictions")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Values, and differences to ``uniform``, with intervals: one row for each number."""
        # Small: some dozens of numbers per method, split and segment.
        rows = self.table("metrics").toPandas()
        rows.attrs.clear()  # Spark Connect notes there what pandas cannot write to a file
        return rows

    @property
    def figures(self) -> dict[str, str]:
        """The plots of the report: name -> SVG."""
        return plots(self.report)

    def show(self, figure: str | None = None, *, height: int = 800) -> None:
        """Shows the report, or one of its plots; outside a notebook, prints text.

        Args:
            figure: name of a plot, from ``figures``; the whole report by default.
            height: height of the report, in pixels.

        Raises:
            RunError: there is no report yet, or no such plot.
        """
        if figure is None:
            content, page_path = self.report, self._folder.page("report")
            whole = html.escape(page_path.read_text())
            text = "\n".join([*page.told(content), str(page_path)])
            _display(_FRAME.format(page=whole, height=height), text)
            return
        if figure not in PLOTS:
            raise RunError(
                f"there is no plot '{figure}'",
                expected=f"one of {sorted(PLOTS)}",
                got=figure,
                fix="use one of these names, or none for the whole report",
            )
        drawn = plots(self.report, [figure])
        _display(drawn[figure], f"{figure}: see {self._folder.page('report')}")

    def __repr__(self) -> str:
        lines = [f"run '{self.run_id}' in {self.root}"]
        lines += [f"  {name}: {record['status']}" for name, record in self.records.items()]
        if self._is_reported():
            lines += page.table(self.report)
        else:
            lines += [f"  {m} left out: {why}" for m, why in self.left_out.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook displays for the run."""
        content = self.report if self._is_reported() else None
        values = {"run": self, "records": self.records, "content": content}
        values |= {"left_out": self.left_out}
        return page.rendered("run.html.j2", values)

    def _is_reported(self) -> bool:
        return self._folder.content("report").is_file()

    def _json(self, path: Path) -> dict[str, Any]:
        done = [stage for stage, record in self.records.items() if record["status"] == "done"]
        if not path.is_file():
            raise RunError(
                f"the run '{self.run_id}' has no {path.stem} yet",
                expected=str(path),
                got=f"stages done: {done}",
                fix="run the remaining stages: reweight.run keeps those that are done",
            )
        content: dict[str, Any] = json.loads(path.read_text())
        return content


@contextmanager
def _session(config: RunConfig, folder: RunFolder) -> Iterator[SparkSession]:
    """The existing session, restored afterwards; or a new one, which stays."""
    existing = given_session()
    with borrowed(existing) if existing else nullcontext():
        # Not in the run's scratch folder, which is removed when the run ends.
        yield spark_session(folder.spark_log, config.spark)


def _display(markup: str, text: str) -> None:
    try:
        shell = importlib.import_module("IPython")
    except ImportError:
        shell = None
    if shell is None or shell.get_ipython() is None:
        print(text, flush=True)
    else:
        shell.display.display(shell.display.HTML(markup))
