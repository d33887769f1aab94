"""`als`: matrix factorisation of implicit feedback by alternating least squares, of Spark ML.

Hu, Koren & Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets". Of a user u and
an item i, the rows with weights w and labels y give the preference and its confidence:

    p_ui = 1 with confidence 1 + alpha sum w y,    p_ui = 0 with confidence alpha sum w (1 - y)

and every pair that was not logged has the preference 0 with confidence 1. The rows of a pair are
summed before the fit: a row of weight 2 is the row twice, and one of weight 0 is not there. A score
x_u . y_i becomes a probability by a logistic regression on it alone, fitted on the training rows
with their weights.

Where the user or the item has no factors (new, or without weight in training) the answer is the
popularity of the item, its positives among its rows, shrunk to the rate of all rows:

    log odds = log((P_i + m q) / (N_i + m (1 - q)))

with the sums P_i and N_i of weights of both labels, the rate q, and m = 10.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.core.errors import ConfigError, WeightError
from reweight.core.files import write_json
from reweight.core.persisted import persisted
from reweight.core.section import Section
from reweight.core.session_kind import history_cut
from reweight.train_ranker.rankers.base import FittedRanker, Ranker, RankerJob
from reweight.train_ranker.score_line import fitted_line

# Columns of samples that can be ids; other names are fields of features.categorical.
_OF_SAMPLES = ("group_id", "segment")
_KEEP = "keep."
# Ids of Spark's ALS are integers.
_LARGEST_ID = 2**31 - 1
# Rows that the rate of all rows counts as, beside those of an item.
_PRIOR = 10.0
# Ten of them overflow the stack of an executor.
_ROUNDS_AT_ONCE = 3
# Scores are rounded to this before calibration; they are about 0 to 1.
_STEP = 0.001


class Calibration(Section):
    """What turns scores into log odds.

    Attributes:
        intercept: log odds at the score 0.
        slope: of the log odds.
        cold: log odds where neither the user nor the item has factors.
        user: where the ids of users come from, as an SQL expression.
        item: where those of items come from.
    """

    intercept: float
    slope: float
    cold: float
    user: str
    item: str


@dataclass(frozen=True)
class FittedAls(FittedRanker):
    """Fitted factors.

    Attributes:
        users: ``id`` and ``features``, the factors.
        items: ``id``, ``features`` and ``popularity``, in log odds.
        calibration: of the scores.
        text: what the fit says of itself.
    """

    users: DataFrame
    items: DataFrame
    calibration: Calibration
    text: str = ""

    def with_margin(self, rows: DataFrame, column: str) -> DataFrame:
        """Adds the calibrated score, or the popularity of the item."""
        c = self.calibration
        score = F.lit(c.intercept) + c.slope * F.col("_score")
        margin = F.coalesce(score, F.col("_popularity"), F.lit(c.cold))
        return self._scored(rows).select(*rows.columns, margin.alias(column))

    def _scored(self, rows: DataFrame) -> DataFrame:
        """Adds ``_score``, null without both factors, and ``_popularity`` of the item."""
        users = self.users.select(F.col("id").alias("_user"), F.col("features").alias("_of_user"))
        items = self.items.select(
            F.col("id").alias("_item"),
            F.col("features").alias("_of_item"),
            F.col("popularity").alias("_popularity"),
        )
        rows = rows.withColumns(
            {"_user": F.expr(self.calibration.user), "_item": F.expr(self.calibration.item)}
        )
        joined = rows.join(users, on="_user", how="left").join(items, on="_item", how="left")
        return joined.withColumn("_score", _dot("_of_user", "_of_item"))

    def facts(self, held_out: DataFrame) -> dict[str, Any]:
        """How many predicted rows have a user or an item without factors."""
        scored = self._scored(held_out)
        sums: Any = scored.agg(
            F.count("*"),
            F.count(F.when(F.col("_of_user").isNull(), 1)),
            F.count(F.when(F.col("_of_item").isNull(), 1)),
            F.count(F.when(F.col("_score").isNull(), 1)),
        ).first()
        names = ("predicted", "of users without factors", "of items without factors")
        return dict(zip((*names, "by popularity"), map(int, sums), strict=True))

    def write(self, folder: Path) -> None:
        """Writes the factors, the popularity of items and the calibration."""
        place = str(folder.absolute())
        for name, frame in (("users", self.users), ("items", self.items)):
            frame.write.mode("overwrite").parquet(f"{place}/{name}")
        write_json(folder / "calibration.json", self.calibration.model_dump())

    @property
    def outcome(self) -> str:
        """The number of factors."""
        return self.text


class Als(Ranker):
    """Collaborative filtering: it knows users and items, and nothing else about a row.

    Attributes:
        user: who: ``group_id``, a field of ``features.categorical``, or ``keep.<name>`` for a
            column of ``sampling.keep``. Users whose ids share a bucket share their factors.
        item: what, likewise.
        rank: number of factors.
        alpha: confidence per unit of weight.
        reg: strength of regularisation.
        max_iter: rounds of alternating least squares.
        blocks: into which users and items are cut; results depend on it as on the seed.
    """

    needs: ClassVar[str] = "ids of users and items"
    cost: ClassVar[str] = "a shuffle of the pairs per half round; a join of the factors to predict"

    ranker: Literal["als"] = "als"
    user: str = Field(default="group_id", pattern=r"^(keep\.)?[A-Za-z_][A-Za-z0-9_]{0,63}$")
    item: str = Field(pattern=r"^(keep\.)?[A-Za-z_][A-Za-z0-9_]{0,63}$")
    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=10.0, gt=0)
    reg: float = Field(default=0.1, gt=0)
    max_iter: int = Field(default=10, ge=1)
    blocks: int = Field(default=8, ge=1)

    def columns(self) -> tuple[str, ...]:
        """The columns that users and items are read from."""
        return tuple(dict.fromkeys(_column(name) for name in (self.user, self.item)))

    def check(self, features: Features, sampling: Sampling) -> None:
        """Refuses ids that the samples do not have."""
        for key, name in (("user", self.user), ("item", self.item)):
            if name in _OF_SAMPLES or name in features.categorical:
                continue
            kept = name.removeprefix(_KEEP)
            if name.startswith(_KEEP) and kept in sampling.keep:
                continue
            fields = [*_OF_SAMPLES[:1], *features.categorical]
            raise ConfigError(
                f"the ranker '{self.name}' has no {key}s",
                expected=f"ids of {key}s: one of {[*fields, *[_KEEP + k for k in sampling.keep]]}",
                got=f"{key}: {name}, which no sample has",
                fix=f"write features: {{categorical: {{{kept}: {{value: {kept}, buckets: 4096}}}}"
                f"}}; or sampling: {{keep: {{{kept}: {kept}}}}}, and {key}: {_KEEP}{kept}",
            )

    def fit(self, rows: DataFrame, job: RankerJob) -> FittedAls:
        """Fits factors to the sums of the pairs, and the calibration to the rows."""
        user, item = (_id(name, list(job.fields)) for name in (self.user, self.item))
        w, y = F.col("weight"), F.col("label")
        pair_rows = rows.select(
            F.expr(user).alias("user"), F.expr(item).alias("item"), "label", "weight"
        ).where("user is not null and item is not null and weight > 0")
        pairs = pair_rows.groupBy("user", "item").agg(
            F.sum(w * y).alias("p"), F.sum(w * (1 - y)).alias("n")
        )
        with persisted(pairs) as pairs:
            rate = self._rate(pairs)
            model = self._factors(pairs, job)
            calibration = _calibrated(model, pairs, rate, user, item)
            items = _with_popularity(model.itemFactors, pairs, rate)
            # Once, while the pairs are there.
            users, items = (frame.localCheckpoint() for frame in (model.userFactors, items))
        text = f"{self.rank} factors, {self.max_iter} rounds"
        return FittedAls(users, items, calibration, text)

    def _rate(self, pairs: DataFrame) -> float:
        """The share of positives, by weight, of the rows with a user and an item."""
        sums: Any = pairs.agg(F.sum("p"), F.sum("n")).first()
        positive, negative = (total or 0.0 for total in sums)
        if not (positive and negative):
            raise WeightError(
                f"the ranker '{self.name}' has no pairs of users and items to learn from",
                expected="training rows of both labels that have weight, a user and an item",
                got=f"weight sums {negative:.4g} for label 0 and {positive:.4g} for label 1",
                fix=f"change user ({self.user}) or item ({self.item}) of this ranker",
            )
        return float(positive / (positive + negative))

    def _factors(self, pairs: DataFrame, job: RankerJob) -> ALSModel:
        signed_sums = F.array(F.col("p"), -F.col("n"))
        ratings = pairs.select("user", "item", F.explode(signed_sums).alias("rating"))
        ratings = ratings.where("rating <> 0")
        als = ALS(
            rank=self.rank,
            maxIter=self.max_iter,
            regParam=self.reg,
            alpha=self.alpha,
            implicitPrefs=True,
            numUserBlocks=self.blocks,
            numItemBlocks=self.blocks,
            userCol="user",
            itemCol="item",
            ratingCol="rating",
            seed=job.seed,
            checkpointInterval=_ROUNDS_AT_ONCE,
        )
        with history_cut(pairs.sparkSession, job.folder and job.folder / "history"):
            return als.fit(ratings.withColumn("rating", F.col("rating").cast("float")))

    def read(self, folder: Path) -> FittedAls:
        """Reads the factors, the popularity of items and the calibration."""
        calibration = Calibration.model_validate_json((folder / "calibration.json").read_text())
        reader = SparkSession.active().read
        users, items = (reader.parquet(f"{folder.absolute()}/{n}") for n in ("users", "items"))
        return FittedAls(users, items, calibration)


def _column(name: str) -> str:
    """The column that ids are read from."""
    if name.startswith(_KEEP):
        return name.removeprefix(_KEEP)
    return name if name in _OF_SAMPLES else "ids"


def _id(name: str, fields: list[str]) -> str:
    """An SQL expression for ids, integers from 0; null where there is none."""
    column = _column(name)
    if column == "ids":
        # The id 0 is that of null.
        return f"nullif(ids[{fields.index(name)}], 0)"
    hashed = f"cast(pmod(xxhash64(`{column}`), {_LARGEST_ID}) AS int)"
    return f"if(`{column}` IS NULL, cast(null AS int), {hashed})"


def _dot(left: str, right: str) -> Column:
    products = F.zip_with(left, right, lambda a, b: a.cast("double") * b)
    return F.aggregate(products, F.lit(0.0), lambda total, product: total + product)


def _with_popularity(items: DataFrame, pairs: DataFrame, rate: float) -> DataFrame:
    """The factors of the items with their popularity, in log odds."""
    by_item = pairs.groupBy(F.col("item").alias("id")).agg(
        F.log((F.sum("p") + _PRIOR * rate) / (F.sum("n") + _PRIOR * (1 - rate))).alias("popularity")
    )
    return items.join(by_item, on="id", how="inner")


def _calibrated(
    model: ALSModel, pairs: DataFrame, rate: float, user: str, item: str
) -> Calibration:
    """A logistic regression on the score alone, with the weights of the rows."""
    users = model.userFactors.select(F.col("id").alias("user"), F.col("features").alias("_u"))
    items = model.itemFactors.select(F.col("id").alias("item"), F.col("features").alias("_i"))
    scored = pairs.join(users, on="user", how="inner").join(items, on="item", how="inner")
    bins = scored.groupBy(F.round(_dot("_u", "_i") / _STEP).alias("bin")).agg(
        F.sum("p").alias("p"), F.sum("n").alias("n")
    )
    # Small by nature: scores are about 0 to 1.
    rows = bins.toPandas().sort_values("bin")
    score, p, n = (rows[name].to_numpy(float) for name in ("bin", "p", "n"))
    cold = float(np.log(rate / (1 - rate)))
    intercept, slope = fitted_line(score * _STEP, p, n, cold)
    return Calibration(intercept=intercept, slope=slope, cold=cold, user=user, item=item)
