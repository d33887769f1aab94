"""The plots of a report: pictures of any run, also of one with nothing to show."""

import warnings
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from reweight.report.plots import plots

NAMES = {
    "differences",
    "funnel",
    "days",
    "losses",
    "weights",
    "roc_pr",
    "calibration",
    "segments",
    "by_label",
    "drivers",
    "cost",
}
METHODS = ("uniform", "random", "network")


def cell(difference: float | None) -> dict[str, float | None]:
    if difference is None:
        return {"value": 0.5}
    return {"difference": difference, "low": difference - 0.1, "high": difference + 0.1}


def full() -> dict[str, Any]:
    curve = {
        "roc": [[1.0, 0.3, 0.0], [1.0, 0.7, 0.0]],
        "pr": [[1.0, 0.5, 0.0], [0.2, 0.4, 1.0]],
        "calibration": [[0.1, 0.4], [0.2, 0.3], [10, 10]],
    }
    metrics = ("ranking_log_loss", "auc")
    return {
        "methods": list(METHODS),
        "baseline": "uniform",
        "lower_is_better": ["ranking_log_loss"],
        "shown": ["truth", "recorded"],
        "decides": "ranking_log_loss",
        "loss": "ranking loss",
        "by_judge": {
            judge: {
                "test": {
                    "uniform": {m: cell(None) for m in metrics},
                    "random": {m: cell(0.2) for m in metrics},
                    # A metric that could not be had: no interval, or not there at all.
                    "network": {"auc": cell(None)},
                }
            }
            for judge in ("truth", "recorded")
        },
        "funnel": [("raw rows", 1_234), ("events", 1_200), ("samples", 600)],
        "days": [
            {"day": "2026-01-01", "split": "train", "rows": 30, "positives": 3},
            {"day": "2026-01-02", "split": "train", "rows": 40, "positives": 5},
            {"day": "2026-01-03", "split": "test", "rows": 20, "positives": 0},
        ],
        "losses": {
            "network": [
                {"epoch": 1, "train": 0.7, "validation": 0.8},
                {"epoch": 2, "train": 0.5, "validation": 0.75},
            ]
        },
        "histograms": {m: [[0.1, 1.0, 10.0], [0.2, 0.7, 0.1]] for m in METHODS},
        "by_label": {k: {m: [[0.1, 1.0], [0.2, 0.8]] for m in METHODS} for k in ("0", "1")},
        "curves": {m: {"test": curve} for m in METHODS[:2]},
        "segments": [
            {"segment": "home", "rows": 300, "auc": {"uniform": 0.7, "random": None}},
            {"segment": "abroad", "rows": 20, "auc": {"network": 0.6}},
        ],
        "drivers": {"uniform": {}, "random": {}, "network": {"price": 0.4, "label": -0.2}},
        "stages": [{"stage": "clean_logs", "seconds": 3.2}, {"stage": "report", "seconds": 0.4}],
    }


def empty() -> dict[str, Any]:
    return {
        "methods": ["uniform"],
        "baseline": "uniform",
        "lower_is_better": ["log_loss"],
        "shown": ["recorded"],
        "decides": "ranking_log_loss",
        "loss": "ranking loss",
        "by_judge": {"recorded": {"test": {"uniform": {}}}},
        "funnel": [],
        "days": [],
        "losses": {},
        "histograms": {"uniform": [[1.0], [1.0]]},
        "by_label": {k: {"uniform": [[1.0], [1.0]]} for k in ("0", "1")},
        "curves": {},
        "segments": [],
        "drivers": {},
        "stages": [],
    }


def drawn(content: dict[str, Any], *names: str) -> dict[str, str]:
    """The plots; whatever matplotlib complains of is an error, and its settings stay."""
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = plots(content, names or None)
    assert dict(mpl.rcParams) == before
    return found


@pytest.fixture(scope="module")
def pictures() -> dict[str, str]:
    return drawn(full())


def paths(svg: str) -> int:
    return len(ElementTree.fromstring(svg).findall(".//{http://www.w3.org/2000/svg}path"))


def test_every_plot_is_one_svg_element(pictures: dict[str, str]) -> None:
    assert set(pictures) == NAMES
    for svg in pictures.values():
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert svg.startswith("<svg")


def test_a_run_with_nothing_to_show_has_the_same_plots_without_a_complaint(
    pictures: dict[str, str],
) -> None:
    found = drawn(empty())
    assert set(found) == NAMES
    for name, svg in found.items():
        assert paths(svg) < paths(pictures[name])


def test_the_same_content_gives_the_same_bytes(pictures: dict[str, str]) -> None:
    assert drawn(full()) == pictures


def test_every_plot_shows_its_part_of_the_content(pictures: dict[str, str]) -> None:
    other = full() | {
        "funnel": [("raw rows", 7)],
        "days": full()["days"][:2],
        "losses": {"network": full()["losses"]["network"][:1]},
        "histograms": {m: [[0.1, 1.0, 10.0], [0.5, 0.4, 0.1]] for m in METHODS},
        "by_label": {k: {m: [[0.1, 1.0], [0.6, 0.4]] for m in METHODS} for k in ("0", "1")},
        "curves": {"uniform": full()["curves"]["uniform"]},
        "segments": full()["segments"][:1],
        "drivers": {"network": {"price": 0.4}},
        "stages": full()["stages"][:1],
    }
    other["by_judge"]["truth"]["test"]["random"]["auc"] = cell(0.3)
    found = drawn(other)
    assert {name for name in NAMES if found[name] != pictures[name]} == NAMES


def test_every_method_is_in_the_legend_of_segments_whichever_have_an_auc(
    pictures: dict[str, str],
) -> None:
    for method in METHODS:
        assert f"<!-- {method} -->" in pictures["segments"]


def test_odd_values_of_a_log_or_a_training_are_no_obstacle() -> None:
    epochs = [
        {"epoch": 1, "train": 0.0, "validation": float("nan")},
        {"epoch": 2, "train": -0.1, "validation": float("inf")},
    ]
    # Dollars would begin a formula.
    segment = {"segment": "$_{$", "rows": 20, "auc": {"network": 0.6}}
    odd = full() | {"losses": {"network": epochs}, "segments": [segment]}
    assert "<!-- $_{$ (20 rows) -->" in drawn(odd, "losses", "segments")["segments"]


def test_logarithmic_axes_are_written_in_plain_numbers(pictures: dict[str, str]) -> None:
    for name, svg in pictures.items():
        assert "mathdefault" not in svg, name
