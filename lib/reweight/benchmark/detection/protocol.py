"""What the benchmark runs: the section of the config, and its cells."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field

from reweight.benchmark.detection.corruption import Damage
from reweight.benchmark.detection.public import PublicTable, SampleTable
from reweight.benchmark.ranking import InMemory
from reweight.core.digest import digest
from reweight.core.section import Place, RunId, Section

Share = Annotated[float, Field(gt=0, lt=1)]

# Always included, besides `uniform` and `random`: the upper bound, and the baseline to beat.
ORACLE = "oracle"
FOREST = "random_forest_oob"


def auc_of(ranker: str) -> str:
    """Name of the metric of a ranker that was trained on a method's weights."""
    return f"auc_{ranker}"


class Benchmark(Section):
    """The section ``benchmark``: every table x damage x rate x seed is a cell.

    The defaults are the protocol of LossVal and OpenDataVal.

    Attributes:
        tables: the tables by name.
        damages: kinds of damage.
        rates: shares of the rows that are hit, among those that the damage can hit.
        seeds: number of draws of rows and damage, with seeds from 0 to seeds - 1.
        train: number of rows to value.
        validation: number of rows that a method may use, damaged like the training rows.
        test: number of clean rows that judge the model after rows were removed.
        batch_size: rows per training step.
        trees: number of trees of the random forest.
        rankers: rankers that are trained on the weights of each method, of the default policy, and
            judged by their AUC on the clean rows; kinds that train in memory.
        removed: shares of the rows that are removed in order of their value.
        method_seeds: number of seeds with which the methods are fitted on the first draw, for the
            stability of their ranks; below 2 for none.
        published: csv of published figures (dataset, noise_rate, method, mean_kmeans_f1, se) that
            are shown next to ours if the file exists.
    """

    tables: dict[RunId, PublicTable | SampleTable]
    damages: tuple[Damage, ...] = Field(default=("uniform",), min_length=1)
    rates: tuple[Share, ...] = Field(default=(0.1, 0.2), min_length=1)
    seeds: int = Field(default=3, ge=1)
    train: int = Field(default=1000, ge=20)
    validation: int = Field(default=100, ge=2)
    test: int = Field(default=3000, ge=20)
    batch_size: int = Field(default=128, ge=1)
    trees: int = Field(default=500, ge=1)
    rankers: tuple[Annotated[InMemory, Field(discriminator="ranker")], ...] = ()
    removed: tuple[Share, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
    method_seeds: int = Field(default=3, ge=0)
    published: Place | None = None

    def identity(self, table: str) -> str:
        """What the result of a cell depends on besides the cell itself.

        Args:
            table: name of the cell's table.
        """
        fields = {"train", "validation", "test", "batch_size", "trees", "removed", "method_seeds"}
        fields |= {"rankers"}
        return self.model_dump_json(include=fields) + self.tables[table].model_dump_json()


@dataclass(frozen=True)
class Cell:
    """One draw of rows and damage, on which all methods are judged."""

    table: str
    damage: Damage
    rate: float
    seed: int

    def key(self, *depends: str) -> str:
        """A short hash of the cell and of everything that its result depends on."""
        return digest(str(asdict(self)), *depends)


def cells(benchmark: Benchmark) -> Iterator[Cell]:
    """All cells, draw by draw, so that an interrupted benchmark has complete draws."""
    for seed in range(benchmark.seeds):
        for table in benchmark.tables:
            for damage in benchmark.damages:
                for rate in benchmark.rates:
                    yield Cell(table, damage, rate, seed)
