"""Indices, limits and alarms of days, from values in memory."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reweight.monitor.histograms import COLUMNS, edges_of, histogram
from reweight.monitor.measures import (
    REFERENCE,
    STATUS,
    Variable,
    alarms,
    exit_status,
    measured,
    psi,
    psi_noise,
)
from reweight.monitor.ranking import Order, Ranked
from reweight.monitor.section import Monitoring

NAMES = [column.split()[0] for column in COLUMNS.split(", ")]
VARIABLES = (
    Variable("psi_features", "price"),
    Variable("psi_features", "hour_of_day_sin", limited=False),
    Variable("psi_weights", "a"),
    Variable("volume", ""),
    Variable("label_rate", ""),
    Variable("open_windows", ""),
)
NOT_RANKED = Ranked()
# 1970-01-11
DAY = 10
Rows = dict[tuple[str, str], dict[str, Any]]


def day(
    rows: int, seed: int, *, shift: float = 0.0, spread: float = 0.3, rate: float = 0.2
) -> np.ndarray:
    draw = np.random.default_rng(seed)
    columns = (
        shift + draw.normal(size=rows),
        np.full(rows, seed / 10),
        np.exp(spread * draw.normal(size=rows)),
        np.ones(rows),
        (draw.random(rows) < rate).astype(float),
        np.zeros(rows),
    )
    return np.stack(columns, axis=1)


def reported(now: np.ndarray, ranked: Ranked = NOT_RANKED, **settings: Any) -> Rows:
    before = day(20_000, 0)
    cuts = np.linspace(0, 1, 11)
    edges = [edges_of(np.quantile(before[:, i], cuts)) for i in range(3)]
    days = np.repeat([REFERENCE, DAY], [len(before), len(now)])
    cells = histogram(days, np.concatenate([before, now]), [*edges, (), (), ()])
    cells = pd.DataFrame(cells, columns=NAMES)
    rows = measured(cells, VARIABLES, [DAY], {"": 2000.0}, {}, ranked, Monitoring(**settings))
    assert {row["day"] for row in rows} == {date(1970, 1, 11)}
    kinds = {type(row[name]) for row in rows for name in ("value", "reference", "limit")}
    assert kinds <= {float, type(None)}
    return {(row["measure"], row["of"] or ""): row for row in rows}


def raised(rows: Rows) -> set[str]:
    return {row["measure"] for row in alarms(list(rows.values()))}


def test_the_index_is_the_sum_of_its_definition() -> None:
    p, q = np.array([0.25, 0.75]), np.array([0.5, 0.5])
    wanted = 0.25 * np.log(2) - 0.25 * np.log(2 / 3)
    assert psi(1e6 * p, 1e6 * q) == pytest.approx(wanted, rel=1e-4)
    assert psi(1e6 * p, 1e6 * p) == 0
    # A bin that is empty on one side is finite.
    assert np.isfinite(psi(np.array([10.0, 0.0]), np.array([0.0, 10.0])))


def test_bins_hold_what_is_at_or_below_their_edge_and_what_is_missing_apart() -> None:
    values = np.array([[0.0], [1.0], [1.5], [2.0], [9.0], [np.nan]])
    cells = histogram(np.zeros(6, int), values, [(1.0, 2.0)])
    frame = pd.DataFrame(cells, columns=NAMES)
    assert frame.set_index("bin")["n"].to_dict() == {0: 1, 1: 2, 2: 2, 3: 1}
    assert frame["total"].sum() == 13.5


@pytest.mark.parametrize("value", [0.0, 1.0, -10.0])
def test_a_value_that_most_rows_share_has_a_bin_of_its_own(value: float) -> None:
    edges = edges_of((value, value, value, value + 5))
    # Lower ones, higher ones, and the same one with another last digit.
    values = value + np.array([[0.0], [-0.5], [0.5], [-1e-7 * value]])
    cells = histogram(np.zeros(4, int), values, [edges])
    assert sorted(cells[:, 3]) == [1, 1, 2]


def test_histograms_of_parts_add_up() -> None:
    values, days = day(500, 3), np.arange(500) % 3
    edges = [(0.0,), (0.5,), (1.0, 2.0), (), (), ()]
    keys = ["day", "variable", "bin"]
    whole, halves = (
        pd.concat(pd.DataFrame(histogram(days[p], values[p], edges), columns=NAMES) for p in parts)
        .groupby(keys)
        .sum()
        for parts in ([slice(None)], [slice(0, 250), slice(250, None)])
    )
    pd.testing.assert_frame_equal(whole, halves)


@pytest.mark.parametrize("rows", [30, 300, 2000])
def test_days_of_any_size_without_drift_raise_no_alarm(rows: int) -> None:
    for seed in range(1, 21):
        assert raised(reported(day(rows, seed), volume=None)) == set(), seed


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"shift": 1.0}, {"psi_features"}),
        ({"rate": 0.4}, {"label_rate"}),
        ({"spread": 2.5}, {"psi_weights", "ess_share"}),
    ],
)
def test_a_drift_raises_the_alarm_of_its_kind(change: dict[str, float], kind: set[str]) -> None:
    assert raised(reported(day(2000, 1, **change))) == kind


def test_weights_that_are_all_0_are_an_alarm_of_an_ess_share_of_0() -> None:
    now = day(2000, 1)
    now[:, 2] = 0
    found = reported(now)
    assert raised(found) == {"psi_weights", "ess_share"}
    assert found["ess_share", "a"]["value"] == 0
    assert found["ess_share", "a"]["reference"] == pytest.approx(np.exp(-0.09), abs=0.01)


def test_a_source_that_falls_silent_is_an_alarm_that_names_it() -> None:
    cells = pd.DataFrame([], columns=NAMES)
    sources = {DAY: {"web": (100, 90.0), "app": (20, 80.0), "new": (5, None)}}
    rows = measured(cells, [], [DAY], {}, {}, NOT_RANKED, Monitoring(), sources)
    assert {row["of"]: row["alarm"] for row in rows} == {"web": False, "app": True, "new": False}
    app = next(row for row in rows if row["of"] == "app")
    assert (app["value"], app["reference"], app["limit"]) == (20, 80, pytest.approx(80 / 3))
    assert exit_status(rows) == STATUS["source_volume"]


def test_a_day_ten_times_as_large_and_an_empty_one_are_alarms_of_the_volume() -> None:
    for rows in (20_000, 0):
        found = reported(day(rows, 1))
        assert raised(found) == {"volume"}
        assert exit_status(list(found.values())) == STATUS["volume"]
    assert found["volume", ""]["value"] == 0
    assert found["volume", ""]["reference"] == 2000
    assert found["label_rate", ""]["value"] is None


def test_what_follows_the_time_by_itself_is_shown_without_a_limit() -> None:
    row = reported(day(2000, 1))["psi_features", "hour_of_day_sin"]
    assert row["value"] > 1
    assert (row["limit"], row["alarm"]) == (None, False)


def test_open_windows_are_an_alarm_where_there_is_a_limit() -> None:
    now = day(2000, 1)
    now[:, 5], now[:, 4] = 1.0, np.nan
    assert raised(reported(now)) == set()
    assert raised(reported(now, open_windows=0.5)) == {"open_windows"}


def test_the_classifier_is_an_alarm_beyond_what_chance_separates() -> None:
    def of(area: float, scored: int) -> bool:
        areas, cells = {DAY: (area, scored)}, pd.DataFrame(columns=NAMES)
        (row,) = measured(cells, (), [DAY], {}, areas, NOT_RANKED, Monitoring())
        return bool(row["alarm"])

    assert not of(0.75, 30)
    assert of(0.75, 2000)


def test_the_noise_of_an_index_shrinks_with_the_rows() -> None:
    few, many = (psi_noise(np.full(10, 1e6), np.full(10, n)) for n in (3.0, 1e5))
    assert few > 1
    assert many < 1e-4


def test_the_most_urgent_alarm_gives_the_exit_status() -> None:
    codes = list(STATUS.values())
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 2} & set(codes)
    one = {"day": date(2026, 1, 1), "alarm": True}
    rows = [one | {"measure": name} for name in ("ess_share", "label_rate", "domain_auc")]
    assert exit_status(rows) == STATUS["label_rate"]
    assert exit_status([row | {"alarm": False} for row in rows]) == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"day": "2026-01-05", "begin": "2026-01-01"}, "--from and --to"),
        ({"begin": "2026-01-05", "end": "2026-01-01"}, "earlier day first"),
        ({"day": "yesterday"}, "date"),
    ],
)
def test_days_that_contradict_each_other_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Monitoring.model_validate(settings)


@pytest.mark.parametrize(("area", "alarm"), [(0.79, False), (0.72, False), (0.6, True)])
def test_a_ranker_that_orders_worse_than_it_did_raises_an_alarm(area: float, alarm: bool) -> None:
    ranked = Ranked(0.8, 0.01, {DAY: Order(area, 100, 900)})
    row = reported(day(1000, 1), ranked=ranked)["ranker_auc", ""]
    assert row["alarm"] is alarm
    assert (row["value"], row["reference"]) == (area, 0.8)


@pytest.mark.parametrize("order", [Order(None, 0, 1000), Order(0.1, 1, 1)])
def test_a_day_with_next_to_no_label_of_a_class_raises_none(order: Order) -> None:
    rows = reported(day(1000, 1), ranked=Ranked(0.8, 0.01, {DAY: order}))
    assert not rows.get(("ranker_auc", ""), {"alarm": False})["alarm"]


def test_the_variance_of_an_auc_is_that_of_many_samples() -> None:
    draw = np.random.default_rng(0)
    # The AUC of scores that are exponential: P(2 x > y) = 2 / 3, as the formula assumes.
    positives, negatives = 2 * draw.exponential(size=(4000, 30)), draw.exponential(size=(4000, 50))
    areas = (positives[:, :, None] > negatives[:, None, :]).mean(axis=(1, 2))
    assert areas.mean() == pytest.approx(2 / 3, abs=0.01)
    assert Order(None, 30, 50).variance(2 / 3) == pytest.approx(areas.var(), rel=0.1)
