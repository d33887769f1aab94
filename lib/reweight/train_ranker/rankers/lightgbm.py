"""`lightgbm`: gradient-boosted trees of the package LightGBM, in the memory of one task.

The weighted log loss, one weight per row. Leaves are limited by their sum of curvatures and not by
their rows, and categories by their share alone, so that a weight of 2 counts as two rows; rows of
weight 0 are left out. LightGBM's distributed training on Spark is SynapseML, which has no package
for the Scala of Spark 4.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pyspark.sql import DataFrame

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.core.errors import TrainingError
from reweight.core.expressions import raised_in_python
from reweight.core.files import write_json
from reweight.train_ranker.in_python import TrainingRows, inputs_of, trained_in_one_task
from reweight.train_ranker.rankers.base import Ranker, RankerJob, need_package
from reweight.train_ranker.rankers.boosters import FittedBooster, Score

_MODEL, _FIELDS = "model.txt", "fields.json"


class LightGbm(Ranker):
    """Gradient-boosted trees by LightGBM, in one task.

    Attributes:
        trees: number of trees.
        leaves: largest number of leaves of a tree.
        learning_rate: factor of each tree.
        min_weight: smallest sum of curvatures (weight p (1 - p) of the log loss) in a leaf.
        lambda_: L2 penalty of the values in leaves.
    """

    needs: ClassVar[str] = "the package lightgbm; rows that fit the memory of one executor"
    cost: ClassVar[str] = "a pass over binned features in memory per tree and level, by one core"
    idle_cores: ClassVar[bool] = True

    ranker: Literal["lightgbm"] = "lightgbm"
    trees: int = Field(default=100, ge=1)
    leaves: int = Field(default=31, ge=2)
    learning_rate: float = Field(default=0.1, gt=0)
    min_weight: float = Field(default=1.0, ge=0)
    lambda_: float = Field(default=1.0, ge=0, alias="lambda")

    def columns(self) -> tuple[str, ...]:
        """Features and ids, and ``sample_id`` for a fixed order."""
        return ("sample_id", "features", "ids")

    def check(self, features: Features, sampling: Sampling) -> None:
        """Refuses another LightGBM than the one that it was written for.

        Raises:
            SetupError: no LightGBM, or one of another major version.
        """
        need_package("lightgbm", "lightgbm", 4)

    def fit(self, rows: DataFrame, job: RankerJob) -> "FittedLightGbm":
        """Fits the trees.

        Raises:
            TrainingError: LightGBM failed, for example for want of memory.
        """
        fields, seed = len(job.fields), job.seed
        heavy = rows.where("weight > 0").withColumn("_inputs", inputs_of(fields))
        try:
            model = trained_in_one_task(
                heavy,
                ("label", "weight"),
                ("sample_id", "label"),
                lambda task: self.trained(task, fields, seed).model,
            )
        except Exception as error:
            raise TrainingError(
                f"the ranker '{self.name}' could not be trained",
                expected="LightGBM to finish in the memory of one task",
                got=raised_in_python(error),
                fix="see the log of Spark; for more rows than fit, use gbt, xgboost or deep",
            ) from error
        return FittedLightGbm(model, fields, f"{self.trees} trees")

    def trained(self, rows: TrainingRows, fields: int, seed: int) -> "FittedLightGbm":
        """Fits the trees to rows in memory.

        Args:
            rows: rows that have weight, with ``label`` and ``weight``.
            fields: number of categorical fields, the last of the inputs.
            seed: the run's seed.
        """
        import lightgbm

        settings = {
            "objective": "binary",
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_sum_hessian_in_leaf": self.min_weight,
            "lambda_l2": self.lambda_,
            # These would count rows, whatever they weigh.
            **{"min_data_in_leaf": 0, "min_data_in_bin": 1, "min_data_per_group": 1},
            "cat_smooth": 0.0,
            **{"deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1},
            "seed": seed % (1 << 31),
        }
        width = rows.inputs.shape[1]
        data = lightgbm.Dataset(
            rows.inputs,
            label=rows.numbers["label"].to_numpy(),
            weight=rows.numbers["weight"].to_numpy(),
            categorical_feature=list(range(width - fields, width)),
            params=settings,
        )
        model = lightgbm.train(settings, data, self.trees).model_to_string()
        return FittedLightGbm(str(model).encode(), fields, f"{self.trees} trees")

    def read(self, folder: Path) -> "FittedLightGbm":
        """What ``FittedLightGbm.write`` wrote."""
        fields = int((folder / _FIELDS).read_text())
        return FittedLightGbm((folder / _MODEL).read_bytes(), fields)


@dataclass(frozen=True)
class FittedLightGbm(FittedBooster):
    """Fitted trees, in LightGBM's own format (text)."""

    def loaded(self) -> Score:
        """The booster, with one thread: Spark runs a task on each core."""
        import lightgbm

        booster = lightgbm.Booster(model_str=self.model.decode())

        def score(inputs: NDArray[np.float32]) -> NDArray[np.float64]:
            margins = booster.predict(inputs, raw_score=True, num_threads=1)
            return np.asarray(margins, dtype=np.float64)

        return score

    def write(self, folder: Path) -> None:
        """Writes the trees in LightGBM's own format."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MODEL).write_bytes(self.model)
        write_json(folder / _FIELDS, self.fields)
