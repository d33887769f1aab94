"""`xgboost`: gradient-boosted trees of the package xgboost, an optional one.

``objective: classify`` minimises the weighted log loss with one weight per row, by `xgboost.spark`.

``objective: rank`` orders the rows of a group (LambdaMART on NDCG). Such an objective takes one
weight per group: here the mean of the weights of the group's rows, or a refusal where they differ.
Design weights are no part of it, since a group would weigh by how many of its negatives were kept;
they count for the line below. Groups of weight 0 are left out, since xgboost would count them among
the groups whose weights it scales to mean 1. Its scores s are no log odds: a s + b is, with a and b
fitted to the weighted labels of the training rows (Platt 1999). `xgboost.spark` has no place for
weights of groups, so that this objective is trained in one task, and its rows must fit the memory
of one executor.

Categorical ids are categories for the trees (splits by sets of ids), and not one column each.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.core.columns import design_weight
from reweight.core.errors import ConfigError, TrainingError
from reweight.core.expressions import raised_in_python
from reweight.core.files import write_json
from reweight.core.section import Name
from reweight.core.session_kind import partitions, slots
from reweight.train_ranker.groups import check_groups
from reweight.train_ranker.in_python import TrainingRows, inputs_of, trained_in_one_task
from reweight.train_ranker.rankers.base import Ranker, RankerJob, need_package
from reweight.train_ranker.rankers.boosters import FittedBooster, Score
from reweight.train_ranker.score_line import fitted_line

_MODEL, _SCALE = "model.ubj", "scale.json"
# Scores are rounded to this before they are calibrated.
_STEP = 0.001


class XGBoost(Ranker):
    """Gradient-boosted trees by xgboost.

    Attributes:
        objective: ``classify``, the log loss of each row; ``rank``, the order within groups.
        group: column of the groups of ``rank``: ``group_id`` (``sampling.group``), or a column of
            ``sampling.keep``.
        group_weight: the weight of a group: the mean of the weights of its rows, without their
            design weights and without rows of weight 0, which are left out; or ``refuse`` where
            they differ.
        trees: number of trees.
        depth: largest depth of a tree.
        learning_rate: factor of each tree.
        min_weight: smallest sum of curvatures (weight p (1 - p) of the log loss) in a leaf.
        lambda_: L2 penalty of the values in leaves.
        workers: tasks that train together; null for one per core, fewer for few rows. The trees of
            different numbers differ a little, since bins of features are estimated. ``rank`` has 1.
    """

    takes: ClassVar[str] = "one per row; `objective: rank` one per group"
    needs: ClassVar[str] = "the package xgboost; `objective: rank` groups"
    cost: ClassVar[str] = "a pass over binned features in memory per tree and level"

    ranker: Literal["xgboost"] = "xgboost"
    objective: Literal["classify", "rank"] = "classify"
    group: Name = "group_id"
    group_weight: Literal["mean", "refuse"] = "mean"
    trees: int = Field(default=100, ge=1)
    depth: int = Field(default=6, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    min_weight: float = Field(default=1.0, ge=0)
    lambda_: float = Field(default=1.0, ge=0, alias="lambda")
    workers: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _of_groups(self) -> "XGBoost":
        if self.objective == "classify":
            self.refuse_unused("objective: classify", "group", "group_weight")
        else:
            self.refuse_unused("objective: rank, which trains in one task", "workers")
        return self

    def columns(self) -> tuple[str, ...]:
        """Features and ids, ``sample_id`` for a fixed order, and the group where there is one."""
        group = (self.group,) if self.objective == "rank" else ()
        return ("sample_id", "features", "ids", *group)

    def training_columns(self, *, rotated: bool) -> tuple[str, ...]:
        """Those that it reads, and ``design_weight`` where rows are ranked in groups."""
        return (*self.columns(), *(("design_weight",) if self.objective == "rank" else ()))

    def check(self, features: Features, sampling: Sampling) -> None:
        """Refuses another xgboost than the one that it was written for, and rows without groups.

        Raises:
            ConfigError: ``objective: rank`` without groups.
            SetupError: no xgboost, or one of another major version.
        """
        need_package("xgboost", "xgboost", 3)
        if self.objective == "classify":
            return
        if self.group == "group_id":
            missing = sampling.group is None
            fix = "write sampling: {group: COLUMN}, such as the session or the list of a row"
        else:
            missing = self.group not in sampling.keep
            fix = f"write sampling: {{keep: {{{self.group}: COLUMN}}}}"
        if missing:
            raise ConfigError(
                f"the ranker '{self.name}' with objective: rank has no groups",
                expected="rows that are ranked together, such as a session's",
                got=f"group: {self.group}, which the samples do not have",
                fix=f"{fix}; or use objective: classify",
            )

    def fit(self, rows: DataFrame, job: RankerJob) -> "FittedXGBoost":
        """Fits the trees.

        Raises:
            TrainingError: xgboost failed.
            WeightError: weights that cannot be those of groups.
        """
        learnt, train = rows, self._rows
        if self.objective == "rank":
            learnt = rows.withColumn("weight", F.col("weight") / design_weight(rows))
            check_groups(learnt, self.group, self.name, even=self.group_weight == "refuse")
            train = self._groups
        heavy = learnt.where("weight > 0").withColumn("_inputs", inputs_of(len(job.fields)))
        kinds = ["float"] * len(job.names) + ["c"] * len(job.fields)
        try:
            model = train(heavy, kinds, job)
        except Exception as error:
            raise TrainingError(
                f"the ranker '{self.name}' could not be trained",
                expected="xgboost to finish",
                got=raised_in_python(error),
                fix="see the log of Spark; fewer rankers.workers take fewer slots at once",
            ) from error
        fitted = FittedXGBoost(model, len(job.fields), f"{self.trees} trees")
        if self.objective == "classify":
            return fitted
        return fitted.calibrated(rows.where("weight > 0"))

    def read(self, folder: Path) -> "FittedXGBoost":
        """What ``FittedXGBoost.write`` wrote."""
        return FittedXGBoost.read(folder)

    def _booster_settings(self, seed: int) -> dict[str, Any]:
        return {
            "tree_method": "hist",
            "max_depth": self.depth,
            "learning_rate": self.learning_rate,
            "min_child_weight": self.min_weight,
            "reg_lambda": self.lambda_,
            "seed": seed % (1 << 31),
        }

    def _rows(self, rows: DataFrame, kinds: list[str], job: RankerJob) -> bytes:
        from xgboost.spark import SparkXGBClassifier

        workers = self.workers or min(slots(rows.sparkSession), partitions(rows))
        # In a fixed order: sums over rows depend on it, and so does where they are cut.
        rows = rows.repartition(workers, "sample_id").sortWithinPartitions("sample_id", "label")
        settings = self._booster_settings(job.seed)
        estimator = SparkXGBClassifier(
            features_col="_inputs",
            label_col="label",
            weight_col="weight",
            num_workers=workers,
            feature_types=kinds,
            n_estimators=self.trees,
            random_state=settings.pop("seed"),
            **settings,
        )
        return bytes(estimator.fit(rows).get_booster().save_raw("ubj"))

    def _groups(self, rows: DataFrame, kinds: list[str], job: RankerJob) -> bytes:
        settings = self._booster_settings(job.seed) | {"objective": "rank:ndcg", "nthread": 1}
        trees = self.trees
        return trained_in_one_task(
            rows.withColumn("_group", F.xxhash64(self.group)),
            ("label", "weight", "_group"),
            ("_group", "sample_id"),
            lambda task: _trained(task, kinds, settings, trees),
        )


@dataclass(frozen=True)
class FittedXGBoost(FittedBooster):
    """Fitted trees, in xgboost's own format (UBJSON).

    Attributes:
        slope: a of the log odds a s + b of a score s.
        intercept: b.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def loaded(self) -> Score:
        """The booster, with one thread: Spark runs a task on each core."""
        booster = _loaded(self.model)
        return lambda inputs: self.slope * _scores(booster, inputs) + self.intercept

    def calibrated(self, rows: DataFrame) -> "FittedXGBoost":
        """With the a and b that fit the weighted labels of these rows, scores rounded to bins."""
        w, y, score = F.col("weight"), F.col("label"), F.col("_score")
        bins = self.with_margin(rows, "_score").groupBy(F.round(score / _STEP).alias("bin"))
        sums = bins.agg(F.sum(w * y).alias("p"), F.sum(w * (1 - y)).alias("n"))
        # Small by nature: occupied bins of scores.
        table = sums.toPandas().sort_values("bin")
        bin_index, p, n = (table[name].to_numpy(float) for name in ("bin", "p", "n"))
        intercept, slope = fitted_line(bin_index * _STEP, p, n, float(np.log(p.sum() / n.sum())))
        return FittedXGBoost(
            self.model, self.fields, self.trees, slope, intercept, shift=self.shift
        )

    def write(self, folder: Path) -> None:
        """Writes the trees in xgboost's own format, and the scale as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MODEL).write_bytes(self.model)
        values = {name: getattr(self, name) for name in ("fields", "trees", "slope", "intercept")}
        write_json(folder / _SCALE, values)

    @classmethod
    def read(cls, folder: Path) -> "FittedXGBoost":
        """Reads what ``write`` wrote."""
        scale: Mapping[str, Any] = json.loads((folder / _SCALE).read_text())
        return cls((folder / _MODEL).read_bytes(), **scale)


def _loaded(model: bytes) -> Any:
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(model))
    # Spark runs a task on each core.
    booster.set_param({"nthread": 1})
    return booster


def _scores(booster: Any, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    import xgboost

    rows = xgboost.DMatrix(
        inputs,
        feature_types=booster.feature_types,
        enable_categorical=True,
        nthread=1,
    )
    scores: NDArray[np.float64] = booster.predict(rows, output_margin=True).astype(float)
    return scores


def _trained(rows: TrainingRows, kinds: list[str], settings: dict[str, Any], trees: int) -> bytes:
    """Trees for the order within groups, from rows sorted by group."""
    import xgboost

    groups = rows.numbers.groupby("_group", sort=True)["weight"].agg(["size", "mean"])
    matrix = xgboost.DMatrix(
        rows.inputs,
        label=rows.numbers["label"].to_numpy(),
        group=groups["size"].to_numpy(),
        weight=groups["mean"].to_numpy(),
        feature_types=kinds,
        enable_categorical=True,
        nthread=1,
    )
    return bytes(xgboost.train(settings, matrix, trees).save_raw("ubj"))
