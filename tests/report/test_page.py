"""The report: what it says of intervals, and a page that needs nothing beside it."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reweight.evaluate.judges.recorded import Recorded
from reweight.evaluate.section import Evaluation
from reweight.evaluate.verdict import decision, verdicts
from reweight.report import page
from reweight.report.page import content, outcome, render, table, told
from reweight.report.plots import plots

HOSTILE = "<script>alert(1)</script>"
# name -> value of the baseline; the counts have neither interval nor difference.
METRICS = {
    "log_loss": 0.5,
    "ranking_log_loss": 0.49,
    "level_log_loss": 0.01,
    "normalised_entropy": 0.9,
    "auc": 0.71,
    "pr_auc": 0.3,
    "calibration_ratio": 1.02,
    "ece": 0.01,
    "gauc": 0.66,
    "ndcg_at_10": 0.4,
    "brier": 0.15,
    "macro_precision": 0.6,
    "macro_recall": 0.58,
    "worst_group_auc": 0.65,
    "worst_group_log_loss": 0.4,
}
COUNTS = {
    **{"rows": 1234.0, "positives": 321.0, "groups_left_out": 17.0, "effective_positives": 321.0},
    "effective_buckets": 150.0,
}
# method -> difference of its log loss with its interval.
DIFFERENCES = {
    "better": (-0.02, -0.03, -0.01),
    "worse": (0.04, 0.02, 0.06),
    "even": (0.001, -0.01, 0.012),
}


def row(method: str, split: str, name: str, kind: str, *values: float | None) -> dict[str, Any]:
    value, low, high = values
    return {
        "judge": "recorded",
        "method": method,
        "seed": 0,
        "split": split,
        "segment": None,
        "name": name,
        "kind": kind,
        "value": value,
        "low": low,
        "high": high,
        "p": None if kind == "value" else 1e-6 if low is None or low * (high or 0) > 0 else 0.8,
    }


def metrics_of(differences: dict[str, tuple[float, float, float]], segment: str) -> pd.DataFrame:
    rows = []
    for split in ("test", "validation"):
        for method in ("uniform", "uniform_recalibrated", *differences):
            moved, low, high = differences.get(method, (0.0, 0.0, 0.0))
            for name, base in METRICS.items():
                value = base + moved
                rows.append(row(method, split, name, "value", value, value - 0.1, value + 0.1))
                if method != "uniform":
                    level = name == "level_log_loss"
                    less = (0.0, -0.1, 0.1) if level else (moved, low, high)
                    rows.append(row(method, split, name, "difference", *less))
            for name, count in COUNTS.items():
                rows.append(row(method, split, name, "value", count, None, None))
            for one in (segment, "women"):
                for name, value in {"auc": 0.7, "rows": 617.0, "positives": 160.0}.items():
                    part = row(method, split, name, "value", value, None, None)
                    rows.append(part | {"segment": one})
    return pd.DataFrame(rows)


def record(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": "done",
        "started": "2026-03-01T10:00:00+00:00",
        "seconds": 12.5,
        "revision": "abc123",
        "config_hash": "d1e2f3",
        "inputs": {"samples": 4},
        "outputs": {"metrics": 7},
        "summary": summary,
    }


def values_of(
    differences: dict[str, tuple[float, float, float]] = DIFFERENCES,
    segment: str = "men",
    intervals: bool = True,
) -> dict[str, Any]:
    methods = ["uniform", *differences]
    metrics = metrics_of(differences, segment)
    rows: Any = metrics.assign(segment=None).where(metrics["segment"].isna()).dropna(how="all")
    rows = rows.astype(object).where(rows.notna(), None).to_dict("records")
    if not intervals:
        metrics = metrics.assign(low=np.nan, high=np.nan)
        rows = [one | {"p": None} for one in rows]
    judges = {"recorded": Recorded()}
    said = verdicts(rows, judges, Evaluation())
    curve = {
        "roc": [[1.0, 0.4, 0.0], [1.0, 0.8, 0.0]],
        "pr": [[1.0, 0.5, 0.0], [0.3, 0.5, 0.9]],
        "calibration": [[0.1, 0.4], [0.12, 0.38], [617.0, 617.0]],
    }
    quantiles = dict(zip(("q01", "q05", "q25", "q50", "q75", "q95", "q99"), range(7), strict=True))
    facts = {"ess": 600.5, "ess_share": 0.4866, "design_effect": 2.05, "mean": 1.0, "min": 0.01}
    facts |= {"max": 8.0, "share_zero": 0.0} | {k: float(v) for k, v in quantiles.items()}
    return content(
        baseline="uniform",
        config={
            "run_id": "run_7",
            # The baseline comes first on the page wherever the config has it.
            "importance": [{"name": name} for name in [*differences, "uniform"]],
            "evaluation": {"confidence": 0.95, "smallest_difference": 0.001, "ndcg_k": 10},
        },
        records={
            "clean_logs": record(
                {
                    "raw": 5000,
                    "rejected": 40,
                    "events": 4960,
                    "reasons": {"null: price": 40},
                    "times": "2026-02-01 to 2026-02-02",
                    "not converted": {"price": "40 values such as 'n/a'"},
                }
            ),
            "build_samples": record(
                {
                    "samples": 3000,
                    "splits": {"train": 1800, "test": 600},
                    "test from": "2026-02-02 00:00:00; 35 label windows were open",
                }
            ),
            "report": record({}),
        },
        metrics=metrics,
        days=pd.DataFrame(
            {
                "day": pd.to_datetime(["2026-02-02", "2026-02-01"]).date,
                "split": ["train", "train"],
                "rows": [900, 900],
                "positives": [100.0, 110.0],
            }
        ),
        evaluation={
            "judges": said,
            "decision": decision(rows, said),
            "curves": {m: {"test": curve, "validation": curve} for m in methods},
            "facts": dict.fromkeys(methods, facts),
            "histograms": {
                m: [np.logspace(-2, 2, 41)[:-1].tolist(), [0.025] * 40] for m in methods
            },
            "segment_shares": [
                {"segment": segment, "rows": 0.6, "weight": dict.fromkeys(methods, 0.347)}
            ],
            "by_label": {
                label: {m: [[0.1, 1.0], [0.5, 0.5]] for m in methods} for label in ("0", "1")
            },
            "drivers": {m: {"label": 0.25, "log_price": -0.5} for m in methods},
            "extremes": {
                m: {
                    "highest": [
                        {
                            "sample_id": "9007199254740993",
                            "label": 1.0,
                            "weight": 3.5,
                            "features": {"log_price": -0.25},
                        }
                    ],
                    "lowest": [],
                }
                for m in methods
            },
        },
        losses={
            "better": [
                {"epoch": e, "train": 1 / e, "validation": 1.1 / e, "seconds": 0.5} for e in (1, 2)
            ]
        },
    )


class Page(HTMLParser):
    """What a browser would make of the page: elements with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return values_of()


@pytest.fixture(scope="module")
def html(values: dict[str, Any]) -> str:
    return render(values)


@pytest.fixture
def draw_only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leaves out the plots that have nothing to do with a test: to draw them takes seconds."""

    def only(*names: str) -> None:
        monkeypatch.setattr(page, "plots", lambda content: plots(content, names))

    return only


def cells(low: float | None, high: float | None) -> dict[str, float | None]:
    return {"low": low, "high": high}


@pytest.mark.parametrize(
    ("low", "high", "lower", "higher"),
    [
        (-0.2, -0.1, "better", "worse"),
        (0.1, 0.2, "worse", "better"),
        (-0.1, 0.2, "no significant difference", "no significant difference"),
        (0.0, 0.0, "no significant difference", "no significant difference"),
        (0.0, 0.2, "no significant difference", "no significant difference"),
        (None, None, "no significant difference", "no significant difference"),
    ],
)
def test_an_outcome_is_where_the_interval_lies(
    low: float | None, high: float | None, lower: str, higher: str
) -> None:
    assert outcome(cells(low, high), lower_is_better=True) == lower
    assert outcome(cells(low, high), lower_is_better=False) == higher


def test_the_verdict_says_which_methods_help_and_what_to_ship(values: dict[str, Any]) -> None:
    found = values["verdict"]
    assert found["judge"] == "recorded"
    assert found["methods"] == {
        "better": "helps",
        "worse": "hurts",
        "even": "no significant difference",
    }
    assert found["text"] == (
        "Ship the weights of better: chosen on validation rows by recorded, and confirmed on test "
        "rows. On test rows, by recorded (labels as the log recorded them): help: better; hurt: "
        "worse; no significant difference: even."
    )


def test_judges_that_are_left_out_are_named_with_the_reason(values: dict[str, Any]) -> None:
    why = "its clip takes 51% of the positive mass, a bias that intervals do not show; raise `clip`"
    evaluation = {"judges": values["judges"], "decision": values["decision"]}
    found = page.verdict(evaluation | {"judges left out": {"position": why}})
    assert found["others"] == [f"The judge position is left out: {why}."]


def test_the_verdict_of_a_run_with_the_baseline_alone() -> None:
    found = values_of({})["verdict"]
    assert found["text"].startswith("Ship uniform weights")
    assert found["text"].endswith(" This run has no method besides uniform.")
    assert found["methods"] == {}


def test_the_comparison_marks_outcomes_by_the_good_side_of_each_metric(
    values: dict[str, Any],
) -> None:
    own = values["comparison"]["test"]["better"]
    assert own["log_loss"]["outcome"] == "better"
    assert own["log_loss"]["value"] == pytest.approx(0.48)
    assert (own["log_loss"]["low"], own["log_loss"]["high"]) == (-0.03, -0.01)
    # The same interval below 0 is worse where high is good, and neither where 1 is.
    assert own["auc"]["outcome"] == "worse"
    assert own["brier"]["outcome"] == "better"
    assert "outcome" not in own["calibration_ratio"]
    assert own["rows"] == {"value": 1234.0, "value_low": None, "value_high": None}
    assert "difference" not in values["comparison"]["test"]["uniform"]["log_loss"]


def test_the_content_can_be_written_as_json(values: dict[str, Any]) -> None:
    again = json.loads(json.dumps(values))
    assert again["methods"] == ["uniform", "better", "worse", "even"]
    assert again["run_id"] == "run_7"


def test_the_funnel_and_the_segments_are_in_the_content(values: dict[str, Any]) -> None:
    assert values["funnel"] == [
        ("raw rows", 5000),
        ("rejected", 40),
        ("events", 4960),
        ("samples", 3000),
        ("samples: train", 1800),
        ("samples: test", 600),
    ]
    assert [s["segment"] for s in values["segments"]] == ["men", "women"]
    assert (values["segments"][0]["rows"], values["segments"][0]["positives"]) == (617, 160)
    assert set(values["segments"][0]["auc"]) == {"uniform", "better", "worse", "even"}
    assert [day["day"] for day in values["days"]] == ["2026-02-01", "2026-02-02"]


def test_the_page_says_the_verdict_and_shows_every_method(
    values: dict[str, Any], html: str
) -> None:
    page = Page(html)
    text = " ".join(" ".join(page.text).split())
    assert values["verdict"]["text"] in text
    for part in ("run_7", "1,234 rows, 321 positives", "17 groups", "null: price", "metrics@7"):
        assert part in text
    for method in values["methods"]:
        assert html.count(f"<td>{method}</td>") >= 5
    # The log loss of a method with its difference and interval.
    assert "0.4800" in text
    assert "-0.0200 [-0.0300, -0.0100]" in text


def test_the_page_says_where_the_log_is_cut_and_what_was_lost(
    values: dict[str, Any], html: str
) -> None:
    assert values["rows_said"] == {
        "times": "2026-02-01 to 2026-02-02",
        "not converted (price)": "40 values such as 'n/a'",
        "test from": "2026-02-02 00:00:00; 35 label windows were open",
    }
    assert "35 label windows were open" in html


def test_the_page_needs_nothing_beside_it(html: str) -> None:
    elements = Page(html).elements
    tags = {tag for tag, _ in elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    assert "svg" in tags
    for _, attributes in elements:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html


def test_every_plot_is_on_the_page(html: str) -> None:
    assert sum(tag == "svg" for tag, _ in Page(html).elements) == 11


def test_the_same_content_gives_the_same_page(
    values: dict[str, Any], draw_only: Callable[..., None]
) -> None:
    # That plots are the same is a test of their own.
    draw_only("cost")
    assert render(values) == render(values)


def test_names_from_the_data_are_text_and_not_markup() -> None:
    values = values_of({HOSTILE: (-0.02, -0.03, -0.01)}, segment=HOSTILE)
    values["reasons"] = {HOSTILE: 3}
    values["config"] = values["config"] | {"note": HOSTILE}
    values["drivers"][HOSTILE][HOSTILE] = 0.9
    parsed = Page(render(values))
    assert "script" not in {tag for tag, _ in parsed.elements}
    assert "".join(parsed.text).count(HOSTILE) >= 8


def test_a_run_without_trained_methods_or_segments_has_a_page(
    draw_only: Callable[..., None],
) -> None:
    draw_only("losses", "segments")
    values = values_of()
    html = render(values | {"losses": {}, "segments": [], "segments_by_judge": {}})
    assert values["verdict"]["text"] in html


def test_the_table_has_a_line_per_method_under_its_head(values: dict[str, Any]) -> None:
    head, *lines = table(values)
    assert head.split("  ")[0] == "method"
    assert [line.split()[0] for line in lines] == values["methods"]
    assert len({len(line) for line in [head, *lines]}) == 1
    assert re.split(r"  +", lines[0].strip()) == ["uniform", "0.4900", "48.7%"]
    helps = "-0.0200 [-0.0300, -0.0100] helps"
    assert re.split(r"  +", lines[1].strip()) == ["better", helps, "48.7%"]
    assert told(values)[-1] == values["verdict"]["text"]


def test_the_page_and_the_console_mark_the_same_outcomes(draw_only: Callable[..., None]) -> None:
    draw_only("differences")
    values = values_of()
    values["judges"]["recorded"]["test"]["even"]["outcome"] = "hurts the level"
    assert table(values)[-1].split("]")[1].split("  ")[0].strip() == "hurts the level"
    assert "<td>hurts the level +0.0010" in re.sub(r"<span[^>]*>", "", render(values))


def test_without_intervals_differences_are_told_and_nothing_is_told_apart(
    draw_only: Callable[..., None],
) -> None:
    draw_only("differences")
    values = values_of(intervals=False)
    json.dumps(values, allow_nan=False)
    assert values["verdict"]["text"] == (
        "Ship uniform weights: by recorded, no method ranks validation rows better. On test rows, "
        "by recorded "
        "(labels as the log recorded them): no method helps; no significant difference: better, "
        "worse, even."
    )
    # Under the head "ranking loss vs uniform", as on the page.
    assert re.split(r"  +", table(values)[2].strip()) == ["better", "-0.0200", "48.7%"]
    html = render(values)
    assert "0.4800" in html
    assert ">nan" not in html.lower()
