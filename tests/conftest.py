"""Fixtures that every test may use."""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyspark
import pytest
from pyspark.sql import SparkSession

from reweight.core.session import FEW_ROWS, spark_session
from reweight.training.readers import Reading

if TYPE_CHECKING:
    from pipelines import Undisturbed
    from reweight.config import Run
    from reweight.training.plan import FitPlan

# The second compiler of a JVM takes a third of the CPU, and a test is over too soon to get it back.
# The collector without threads of its own takes less than the one that marks beside the program.
os.environ.setdefault(
    "JAVA_TOOL_OPTIONS",
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC",
)

# Jobs and clusters in processes of their own keep Spark's defaults.
SMALL_DATA = FEW_ROWS | {
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
}
TEST_SETTINGS = SMALL_DATA | {
    "spark.master": "local[2]",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.memory": "1500m",
}


# Fixtures -> the tier of the tests that use them, the dearest first.
TIERS = {
    "process": {"starts_processes", "undisturbed", "spark_home"},
    "pipeline": {"runs_stages", "run", "open_run"},
    "spark": {"spark"},
}
# Files that read the finished run (the fixture `run`): one process makes it for all of them.
FINISHED_RUN = {
    *("runner/test_pipeline.py", "runner/test_repeat.py", "runner/test_soft_labels.py"),
    *(
        "runner/test_left_out.py",
        "runner/test_pipeline_of_rankers.py",
        "runner/test_kept_stages.py",
    ),
    *("explain/test_explain.py", "tune/test_tune.py", "serving/test_export.py"),
}
# Files whose tests are long and share nothing: each goes to the process that is free.
APART = {"notebooks/test_notebooks.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test with its tier, and puts the files with the dearest ones in front.

    What a test uses says what it costs; a long file that began last would keep one process waiting.
    """
    order, first = [*TIERS, "unit"], dict[str, int]()
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        tier = next((name for name, used in TIERS.items() if used & fixtures), "unit")
        if any(map(item.get_closest_marker, ("cluster", "connect", "faults"))):
            tier = "process"
        item.add_marker(getattr(pytest.mark, tier))
        file = file_of(item.nodeid)
        first[file] = min(order.index(tier), first.get(file, len(order)))
        # A file may have a run of its own.
        if fixtures >= {"run", "open_run"} and file not in FINISHED_RUN:
            raise pytest.UsageError(f"tests/{file} reads the finished run: add it to FINISHED_RUN")
    first |= dict.fromkeys(FINISHED_RUN, -1)
    items.sort(key=lambda item: first[file_of(item.nodeid)])


def file_of(nodeid: str) -> str:
    """The file of a test, seen from the folder of this one."""
    return nodeid.partition("::")[0].removeprefix("tests/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope`: decides which tests run in one process, as they share fixtures."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = file_of(nodeid)
            if file in APART:
                return nodeid
            return "finished run" if file in FINISHED_RUN else file

    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    """The library's lines reach ``caplog``, whatever an earlier test did to its logger."""
    logger = logging.getLogger("reweight")
    logger.propagate = True
    caplog.set_level(logging.INFO, logger="reweight")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> "Callable[[], str]":
    """Gives what the library logged since the last call, a message a line."""

    def text() -> str:
        messages = "\n".join(record.getMessage() for record in caplog.records)
        caplog.clear()
        return messages

    return text


@pytest.fixture
def starts_processes() -> None:
    """For tests that start processes of their own."""


@pytest.fixture
def runs_stages() -> None:
    """For tests that run stages on rows of their own."""


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    folder = tmp_path_factory.mktemp("spark")
    settings = TEST_SETTINGS | {"spark.sql.warehouse.dir": str(folder / "warehouse")}
    session = spark_session(folder / "spark.log", settings)
    yield session
    session.stop()


@pytest.fixture(scope="module")
def large_data(spark: SparkSession) -> Iterator[None]:
    """Generated code, as Spark's default is: for logs of so many rows that it pays to compile."""
    keys = [key for key in SMALL_DATA if key.startswith("spark.sql.codegen")]
    for key in keys:
        spark.conf.unset(key)
    yield
    for key in keys:
        spark.conf.set(key, SMALL_DATA[key])


@pytest.fixture(scope="module")
def ranks_here() -> Iterator[None]:
    """The driver trains in this process, where it is not asked how: another imports torch first."""
    import torch

    from reweight.fit_importance import launch
    from reweight.training import rank

    @contextmanager
    def here(plan: "FitPlan") -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
        with pytest.MonkeyPatch.context() as patch:
            with socket.create_server(("127.0.0.1", 0)) as free:
                place = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1"}
                for name, value in (place | {"MASTER_PORT": free.getsockname()[1]}).items():
                    patch.setenv(name, str(value))
            yield lambda: rank.train_rank(plan.model_dump_json(by_alias=True)), lambda: None

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "on_driver", here)
        patch.setattr(rank, "log_to_console", lambda: None)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=["petastorm", "arrow"])
def reader(request: pytest.FixtureRequest) -> Reading:
    """Each reader of snapshots that is installed."""
    found: Reading = request.param
    if found == "petastorm" and find_spec("petastorm") is None:
        pytest.skip("Petastorm is not installed here")
    return found


@pytest.fixture(scope="session")
def undisturbed(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> "Undisturbed":
    """The tiny line on one machine that nobody disturbed, to compare others with."""
    # Here, for few tests need it and it imports every stage.
    from pipelines import Undisturbed, finish, shared_folder, start, tables

    with shared_folder(tmp_path_factory.getbasetemp(), worker_id, "undisturbed") as (folder, first):
        root, told = folder / "root", folder / "told.json"
        if first:
            began = time.time()
            told.write_text(json.dumps([began, finish(start(root))]))
    return Undisturbed(root, *json.loads(told.read_text()), tables(spark, root))


@pytest.fixture
def spark_home(tmp_path: Path) -> Path:
    """The Spark under test in a folder of its own: local-cluster writes into its `work`."""
    home = tmp_path / "spark-home"
    home.mkdir()
    for entry in Path(pyspark.__file__).parent.iterdir():
        if entry.name not in ("work", "conf"):
            (home / entry.name).symlink_to(entry)
    return home


@pytest.fixture(scope="session")
def real_data() -> Path:
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("REWEIGHT_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"the real logs are not here ({folder}); set REWEIGHT_DATA to their folder")
    return folder


# The demo, small.
SMALL = (
    "simulation.sessions=600",
    "importance.2.training.epochs=3",
    "importance.3.training.epochs=2",
    "fitting.batch_size=256",
    "fitting.ranks=1",
    "features.categorical.item.buckets=32",
    "ranking.max_iter=20",
    "evaluation.replicates=100",
    "evaluation.buckets=40",
)


@pytest.fixture(scope="session")
def open_run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> "Callable[..., Run]":
    """Opens a run of the small demo; further overrides go over it."""
    from reweight.config import Run, load_config

    root = tmp_path_factory.mktemp("runs")

    def opened(run_id: str, *overrides: str) -> Run:
        demo = Path(__file__).parent / "shop.yaml"
        names = (f"run_id={run_id}", f"root={root}")
        return Run.open(spark, load_config(str(demo), (*names, *SMALL, *overrides)))

    return opened


@pytest.fixture(scope="session")
def run(open_run: "Callable[..., Run]") -> "Run":
    """A run that has been through every stage."""
    from reweight.runner.pipeline import PIPELINE
    from reweight.runner.records import run_stage

    judges = "evaluation.judges={truth: {}, position: {propensity: 1 / position}, recorded: {}}"
    opened = open_run("first", judges)
    for stage in PIPELINE:
        run_stage(opened, stage)
    return opened
