"""The contract of every judge, and what each of them counts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.errors import ConfigError, EvaluationError, SourceError
from reweight.core.files import write_json
from reweight.core.kept import kept_json
from reweight.core.left_out import record_left_out
from reweight.core.run_folder import RunFolder
from reweight.core.tables import SAMPLES, TRUTH
from reweight.evaluate import judging, random_slice, stage
from reweight.evaluate.judges import JUDGES, Judge, Known, all_judges, recorded_alone
from reweight.evaluate.judges.position import Position
from reweight.evaluate.judges.random_traffic import RandomTraffic
from reweight.evaluate.judges.recorded import Recorded
from reweight.evaluate.judges.settled import Settled
from reweight.evaluate.judges.trusted import Trusted
from reweight.evaluate.judges.truth import Truth
from reweight.evaluate.section import Evaluation
from reweight.importance.methods.ipw_position import IpwPosition

EXAMPLES: dict[str, Judge] = {
    "recorded": Recorded(),
    "random_traffic": RandomTraffic(where="slice = 'random'"),
    "position": Position(propensity="1 / position", clip=4),
    "settled": Settled(),
    "trusted": Trusted(label="rating >= 5"),
    "truth": Truth(),
}
KNOWN = Known(simulated=True)
TYPES = {"slice": "string", "rating": "int"}


class Tables:
    """The tables that judges read, in place of a store of a run."""

    def __init__(self, samples: DataFrame, truth: DataFrame) -> None:
        self.tables = {SAMPLES.name: samples, TRUTH.name: truth}

    def read(self, table: object) -> DataFrame:
        return self.tables[table.name]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def store(spark: SparkSession) -> Tables:
    ids = spark.range(400)
    i = F.col("id")
    samples = ids.select(
        F.xxhash64(i.cast("string")).alias("sample_id"),
        i.alias("i"),
        F.when(i % 4 < 2, "test").when(i % 4 == 2, "validation").otherwise("train").alias("split"),
        (i % 5 == 0).cast("float").alias("label"),
        (i % 3 != 0).alias("mature"),
        (i % 10 + 1).cast("int").alias("position"),
        kept_json(
            {
                "slice": "if(id % 7 < 3, 'random', 'ranked')",
                "rating": "if(id % 2 = 0, int(id % 6), null)",
            }
        ).alias("kept"),
    )
    truth = ids.select(
        i.cast("string").alias("impression_id"),
        (i % 3 == 1).alias("wanted"),
        (i % 5 == 0).alias("would_buy"),
        F.lit(True).alias("seen"),
        (i % 11 == 0).alias("bot"),
        F.lit(0.5).alias("relevance"),
    )
    return Tables(samples.cache(), truth.cache())


def masses(store: Tables, judge: Judge, known: Known = KNOWN) -> pd.DataFrame:
    """The masses of the held-out rows, by `i`."""
    samples = judging.judged_samples(store, TYPES, {"j": judge})  # type: ignore[arg-type]
    predictions = samples.select("sample_id", "i")
    found = judging.with_masses(predictions, samples, {"j": judge}, known).toPandas()
    return found.set_index("i").sort_index()


def test_every_judge_has_an_example() -> None:
    assert set(EXAMPLES) == set(JUDGES)


def test_every_judge_counts_held_out_rows_with_masses_that_sum_to_their_weight(
    store: Tables,
) -> None:
    for name, judge in EXAMPLES.items():
        found = masses(store, judge)
        assert len(found), name
        assert (found.index % 4 < 3).all(), f"{name} reads training rows"
        np.testing.assert_allclose(found["positive"] + found["negative"], 1.0)
        weighted = masses(store, judge.model_copy(update={"weight": "position"}))
        expected = found.mul(found.index.to_series() % 10 + 1, axis=0)
        np.testing.assert_allclose(weighted["positive"], expected["positive"])
        np.testing.assert_allclose(weighted["negative"], expected["negative"])
        fewer = masses(store, judge.model_copy(update={"where": "i % 7 = 1"}))
        assert set(fewer.index) <= {i for i in range(400) if i % 7 == 1}, name
        assert judge.says
        assert judge.unusable(KNOWN) is None


def test_rows_and_labels_are_those_that_the_judge_asks_for(store: Tables) -> None:
    held = [i for i in range(400) if i % 4 < 3]
    positive = {name: masses(store, judge)["positive"] for name, judge in EXAMPLES.items()}
    assert positive["recorded"].to_dict() == {i: float(i % 5 == 0) for i in held}
    assert set(positive["random_traffic"].index) == {i for i in held if i % 7 < 3}
    assert set(positive["settled"].index) == {i for i in held if i % 3}
    assert positive["trusted"].to_dict() == {i: float(i % 6 >= 5) for i in held if i % 2 == 0}
    assert positive["truth"].to_dict() == {i: float(i % 3 == 1) for i in held if i % 11}
    # 1 / theta is the position, at most 4.
    expected = {i: min(4.0, i % 10 + 1) * (i % 5 == 0) for i in held}
    assert positive["position"].to_dict() == expected


def test_propensities_of_a_model_are_looked_up_by_position(store: Tables) -> None:
    theta = [1.0, 1.0, 0.5, 0.25]
    judge = Position(model="ips", clip=100)
    found = masses(store, judge, Known({"other": [1.0], "ips": theta}))["positive"]
    # Positions beyond the last one share its propensity.
    assert found.to_dict() == {
        i: (1 / theta[min(3, i % 10 + 1)]) * (i % 5 == 0) for i in range(400) if i % 4 < 3
    }
    reason = judge.unusable(Known({"other": [1.0]}))
    assert reason is not None
    assert "'ips'" in reason


def test_a_model_that_this_run_left_out_estimates_nothing(tmp_path: Path) -> None:
    folder, methods = RunFolder.of(tmp_path, "r"), [IpwPosition(), IpwPosition(name="other")]
    for method in methods:
        # As an earlier fit left it.
        write_json(folder.models.propensities(method.name), [1.0, 0.5])
    record_left_out(folder, "fit_importance", {"ipw_position": "refused now"})
    # Only its weights are: its fit is this run's.
    record_left_out(folder, "score_weights", {"other": "too uneven"})
    known = judging.known_of(folder, folder.models, methods, simulated=False)
    assert known.propensities == {"other": [1.0, 0.5]}


def test_what_a_clip_takes_is_measured_and_told(store: Tables) -> None:
    def fitted(**settings: Any) -> judging.Fitted:
        judges = EXAMPLES | {"position": Position(propensity="1 / position", **settings)}
        return judging.fitted(store, TYPES, judges, KNOWN)  # type: ignore[arg-type]

    # Twice as many positive rows are at position 1 as at 6, which counts as 4: 2 of 8 are lost.
    some = fitted(clip=4)
    assert some.judges == EXAMPLES
    assert some.notes.keys() == {"position"}
    assert "25%" in some.notes["position"]
    much = fitted(clip=1.5)
    assert list(much.judges) == [name for name in EXAMPLES if name != "position"]
    assert "raise `clip`" in much.left_out["position"]
    # By default it grows with the log, and is 10 here.
    late = fitted()
    assert late.judges["position"].clip == 10  # type: ignore[attr-defined]
    assert not late.notes
    many = Position().fitted(250_000)
    assert (many.clip, many.factor(Known({"ips": [1.0]}))[:12]) == (500, "least(500.0D")
    assert Position(clip=3).fitted(250_000).clip == 3
    only = judging.fitted(store, TYPES, {"recorded": Recorded()}, KNOWN)  # type: ignore[arg-type]
    assert only == judging.Fitted({"recorded": Recorded()}, {}, {})


def test_kept_columns_are_told_from_those_of_the_truth() -> None:
    no_session: Any = None
    judges = {"mine": Truth(), "other": Recorded()}
    with pytest.raises(ConfigError, match="the names of what a simulation knows") as caught:
        judging.check_judges(no_session, judges, {"rating": "a", "Seen": "b"}, KNOWN)
    assert caught.value.got == "['Seen']"
    assert "Seen_kept: COLUMN" in caught.value.fix


def test_what_the_config_shows_is_refused_before_any_work(spark: SparkSession) -> None:
    def check(judge: Judge, known: Known = KNOWN) -> None:
        judging.check_judges(spark, {"mine": judge}, {"rating": "rating"}, known)

    for judge in (Trusted(label="rating >= 5"), Position(propensity="1 / position"), Truth()):
        check(judge)
    with pytest.raises(ConfigError, match="the judge 'mine' cannot judge this run") as no_truth:
        check(Truth(), Known())
    assert "only a simulated log has a truth" in no_truth.value.got
    with pytest.raises(ConfigError) as no_model:
        check(Position())
    assert "propensity: 1 / position" in no_model.value.got
    with pytest.raises(SourceError) as unknown:
        check(Trusted(label="stars > 3"))
    assert "evaluation.judges.mine.label: stars > 3" in unknown.value.got
    assert "sampling: {keep: {rating: rating}}" in unknown.value.fix
    with pytest.raises((SourceError, AnalysisException)):
        check(RandomTraffic(where="wanted"))


@pytest.mark.parametrize(
    ("judge", "what", "got"),
    [
        (Trusted(label="position"), "has values out of range", "another `label`"),
        (Recorded(weight="-1"), "has values out of range", "another `weight`"),
        (Position(propensity="position - 1"), "has values out of range", "another `propensity`"),
        (Recorded(where="split = 'train'"), "has no rows in validation", "no row"),
        # Whose propensities a model will estimate later.
        (Position(where="position > 99"), "has no rows in validation", "no row"),
        (Trusted(label="if(split = 'test', null, 1)"), "has only one class in validation", "0"),
    ],
)
def test_judges_without_something_to_judge_are_refused(
    store: Tables, judge: Judge, what: str, got: str
) -> None:
    with pytest.raises(EvaluationError, match=what) as refused:
        judging.check_judged(store, TYPES, {"mine": judge}, 1)  # type: ignore[arg-type]
    assert got in refused.value.got
    assert "evaluation.judges.mine" in refused.value.fix


def test_recorded_labels_judge_alone_only_if_all_rows_count_alike() -> None:
    def alone(**judges: Any) -> bool:
        return recorded_alone(all_judges(Evaluation(judges=judges).judges))

    assert alone()
    assert alone(recorded=None)
    assert alone(recorded={"judge": "recorded"})
    assert not alone(recorded={"where": "mature"})
    assert not alone(recorded={"weight": "2.0"})
    assert not alone(truth=None)


def test_a_condition_of_the_recorded_judge_is_checked_also_where_it_is_the_only_one(
    store: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "kept_types", lambda folder: TYPES)

    def checked(judges: dict[str, Any]) -> dict[str, Any]:
        config = SimpleNamespace(evaluation=Evaluation(judges=judges), simulation=None)
        run: Any = SimpleNamespace(config=config, store=store, folder=None)
        return stage.check_samples(run)

    assert checked({"recorded": {}}) == checked({}) == {}
    assert checked({"recorded": {"where": "mature"}})["recorded"]["rows"] < 200
    with pytest.raises(EvaluationError, match="'recorded' has no rows"):
        checked({"recorded": {"where": "position > 99"}})


def test_judges_with_few_positives_in_either_split_are_noted(store: Tables) -> None:
    # Rows of validation choose, so few of those are as much in the way.
    few = {
        f"few_in_{few}": Trusted(label="rating >= 4", where=f"split = '{many}' OR position < 4")
        for few, many in (("test", "validation"), ("validation", "test"))
    }
    judges = EXAMPLES | few | {"trusted": Trusted(label="rating >= 4")}
    found = judging.check_judged(store, TYPES, judges, 20)  # type: ignore[arg-type]
    assert found["recorded"] == {"rows": 200, "positives": 40}
    assert {"few_in_test", "few_in_validation"} <= {n for n, f in found.items() if "note" in f}


def test_a_slice_that_features_give_away_is_said_with_the_area(spark: SparkSession) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1500, 2))
    frame = pd.DataFrame({"sample_id": range(1500), "group_id": range(1500)})
    frame = frame.assign(fair=generator.random(1500) < 0.5, chosen=x[:, 0] > 0.3)
    frame["features"] = [row.tolist() for row in x]
    rows = spark.createDataFrame(frame)
    judges = {name: RandomTraffic(where=name) for name in ("fair", "chosen")}
    notes = random_slice.separated(rows, judges, 0)
    assert "AUC of 0.4" in notes["fair"] or "AUC of 0.5" in notes["fair"]
    assert "not a random part" not in notes["fair"]
    assert "not a random part" in notes["chosen"]


def test_a_small_slice_is_not_said_to_be_another_part_of_the_log_by_chance() -> None:
    generator, said = np.random.default_rng(1), 0
    inside, fitted = np.arange(600) < 40, np.arange(600) % 2 == 0
    error = random_slice.chance(20, 280)
    for _ in range(100):
        area = random_slice.separation(generator.normal(size=(600, 3)), inside, fitted)
        assert area is not None
        said += "not a random part" in random_slice.note(area, error)
    assert said <= 10
    assert error == pytest.approx(np.sqrt(301 / (12 * 20 * 280)))
    assert "not a random part" in random_slice.note(0.56, random_slice.chance(5000, 5000))
