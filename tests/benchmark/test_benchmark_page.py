"""The page of the benchmark: what it says of rows of results."""

import json
import re
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from pydantic import TypeAdapter

from reweight.benchmark.detection.page import ALL, METRICS, content, render, table
from reweight.importance.methods import Method

TABLES = ("fried", "pol")
# What each method is ahead of the baseline, in every draw.
AHEAD = {"oracle": 0.2, "random_forest_oob": 0.0, "network": 0.05, "random": -0.3}
HOSTILE = "<script>alert(1)</script>"


def results(seeds: int = 3) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        for number, name in enumerate(TABLES):
            for rate in (0.1, 0.2):
                cell = {"cell": f"{name}{rate}{seed}", "table": name, "damage": "uniform"}
                cell |= {"rate": rate, "seed": seed, "share": None, "reason": None}
                for method, ahead in AHEAD.items():
                    own = cell | {"method": method}
                    level = 0.7 + 0.05 * number - rate / 10 + 0.01 * seed
                    rows += [own | {"name": m, "value": level + ahead} for m in METRICS]
                    rows += [
                        own | {"name": "accuracy_without_lowest", "share": s, "value": 0.8 + s}
                        for s in (0.0, 0.5)
                    ]
                    rows.append(own | {"name": "fit_seconds", "value": 1.0 + ahead})
                failure = {"method": "broken", "name": "failed", "value": None, "reason": HOSTILE}
                rows.append(cell | failure)
    return pd.DataFrame(rows)


def values(rows: pd.DataFrame, published: pd.DataFrame | None = None) -> dict[str, Any]:
    return content(
        config={
            "run_id": "published",
            "benchmark": {"tables": dict.fromkeys(TABLES), "train": 1000, "test": 3000},
        },
        methods=[TypeAdapter(Method).validate_python({"method": "random"})],
        records={},
        rows=rows,
        published=published,
    )


def cell(found: dict[str, Any], method: str, name: str, rate: float = 0.1) -> dict[str, Any]:
    (result,) = [r for r in found["results"] if (r["metric"], r["rate"]) == ("auroc", rate)]
    one: dict[str, Any] = result["cells"][method][name]
    return one


def test_means_errors_and_paired_differences_are_those_of_the_rows() -> None:
    found = values(results())
    own = cell(found, "network", "fried")
    assert own["mean"] == pytest.approx(0.7 - 0.01 + 0.05 + 0.01)
    assert own["error"] == pytest.approx(0.01 / 3**0.5)
    # Every draw is ahead by the same: the draws differ, the difference does not.
    assert [own[k] for k in ("difference", "low", "high")] == pytest.approx([0.05] * 3)
    assert own["outcome"] == "better"
    assert cell(found, "random", ALL)["outcome"] == "worse"
    assert cell(found, "network", ALL)["mean"] == pytest.approx(own["mean"] + 0.025)
    for method in ("oracle", "random_forest_oob"):
        assert "difference" not in cell(found, method, "fried")


def test_a_draw_that_lacks_a_table_has_no_mean_over_all_tables() -> None:
    rows = results()
    lost = (rows["table"] == "pol") & (rows["seed"] == 2) & (rows["method"] == "network")
    found = values(rows[~lost])
    assert cell(found, "network", ALL)["draws"] == 2
    assert cell(found, "network", ALL)["difference"] == pytest.approx(0.05)
    assert cell(found, "network", "fried")["draws"] == 3


def test_a_method_without_a_table_has_no_mean_over_all_of_them_and_is_last() -> None:
    rows = results()
    # It is left with the table on which all are better.
    lost = (rows["table"] == "fried") & (rows["method"] == "network")
    found = values(rows[~lost])
    (auroc,) = [r for r in found["results"] if (r["metric"], r["rate"]) == ("auroc", 0.1)]
    assert set(auroc["cells"]["network"]) == {"pol"}
    assert found["methods"] == ["oracle", "random_forest_oob", "random", "network"]
    assert set(found["curves"]["accuracy_without_lowest"]) == set(AHEAD) - {"network"}
    assert found["facts"]["network"]["fit_seconds"] is None
    assert found["facts"]["random"]["fit_seconds"] == pytest.approx(0.7)
    assert "-" in next(line for line in table(found) if "network" in line)


def test_what_fails_on_the_hard_draws_is_not_ranked_on_the_easy_ones() -> None:
    rows = results()
    # The first seed has the lowest values of all methods.
    hard = (rows["method"] == "random_forest_oob") & (rows["seed"] == 0) & (rows["table"] == "pol")
    theirs = pd.DataFrame(
        [(name, rate, "KNN", 0.3) for name in TABLES for rate in (0.1, 0.2)],
        columns=["dataset", "noise_rate", "method", "mean_kmeans_f1"],
    )
    found = values(rows[~hard], theirs)
    assert found["comparison"]["ranks"] == {"network": 1.0, "random": 2.0}
    assert found["comparison"]["blocks"] == 4
    assert found["methods"] == ["oracle", "network", "random", "random_forest_oob"]
    assert "random_forest_oob" not in found["curves"]["accuracy_without_lowest"]
    ours = [one["method"] for one in found["published"] if one["ours"]]
    assert ours == ["oracle", "network", "random"]
    # Its own mean is that of two draws, and says so; of both tables and of each rate.
    assert render(found).count("2 of 3 draws") == 2 * 2 * len(METRICS)
    told = [line for line in table(found) if "(2 of 3 draws)" in line]
    assert len(told) == 2
    assert all("random_forest_oob" in line for line in told)


def test_ranks_leave_out_the_oracle_and_what_failed() -> None:
    found = values(results())["comparison"]
    assert found["ranks"] == {"network": 1.0, "random": 3.0, "random_forest_oob": 2.0}
    assert found["blocks"] == 4
    # Three pairs in four blocks: 3 * 2 / 2^4.
    assert found["attainable"] == pytest.approx(0.375)
    assert "no pair can have a p value below 0.38" in render(values(results()))


def test_published_figures_stand_beside_ours_where_both_have_every_table() -> None:
    theirs = pd.DataFrame(
        [
            (name, rate, method, mean)
            for name in (*TABLES, "MiniBooNE")
            for rate in (0.1, 0.15)
            for method, mean in (("KNN", 0.3), ("Half", 0.9))
            if (name, method) != ("pol", "Half")
        ],
        columns=["dataset", "noise_rate", "method", "mean_kmeans_f1"],
    )
    found = values(results(), theirs)["published"]
    assert [one["method"] for one in found if not one["ours"]] == ["KNN"]
    assert found[0]["method"] == "oracle"
    (knn,) = [one for one in found if one["method"] == "KNN"]
    assert knn["rates"] == {"0.1": pytest.approx(0.3)}
    (network,) = [one for one in found if one["method"] == "network"]
    assert network["rates"]["0.2"] == pytest.approx(0.7 - 0.02 + 0.05 + 0.01 + 0.025)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_page_stands_alone_and_json_holds_its_content(seeds: int) -> None:
    found = values(results(seeds))
    page = render(json.loads(json.dumps(found)))
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"<(script|link|img)|\ssrc=|@import|url\(http", page)
    svgs = page.split("<svg")[1:]
    assert len(svgs) == 5
    for svg in svgs:
        ElementTree.fromstring("<svg" + svg[: svg.index("</svg>")] + "</svg>")
    assert ("&plusmn;" in page) == (seeds > 1)
    assert f"{4 * seeds} cells, each a draw of rows and damage; {seeds} draw(s) per" in page


def test_the_console_shows_a_line_per_method_and_condition() -> None:
    lines = table(values(results()))
    assert len(lines) == 2 * (1 + len(AHEAD))
    assert lines[0].startswith("uniform 10%")
    assert any("network" in line and "0.775 +- 0.006" in line for line in lines)
