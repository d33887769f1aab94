"""The plots of the benchmark's page: each is a function from its content to a figure."""

from typing import TYPE_CHECKING

from reweight.report.figures import COLOURS, GREY, Content, legend, panels, pictures, plain
from reweight.report.plots import method_colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The column of the results with the mean over all tables.
ALL = "all tables"
_STYLES = ("-", "--", ":", "-.")


def plots(content: Content) -> dict[str, str]:
    """All plots of the page: name -> SVG."""
    drawn = {
        "auroc": _auroc,
        "differences": _differences,
        "ranks": _ranks,
        "curves": _curves,
        "cost": _cost,
    }
    return pictures(drawn, content)


def _results(content: Content) -> list[Content]:
    return [r for r in content["results"] if r["metric"] == "auroc"]


def _auroc(content: Content) -> "Figure":
    """Means over seeds with standard errors, one panel per table."""
    tables, methods = content["tables"], content["methods"]
    figure, axes = panels(max(1, len(tables)), height=1.0 + 0.25 * len(methods))
    results = _results(content)
    for axis, table in zip(axes, tables, strict=False):
        for i, result in enumerate(results):
            offset = 0.5 * ((i + 0.5) / len(results) - 0.5)
            for place, method in enumerate(methods):
                cell = result["cells"].get(method, {}).get(table)
                if cell is not None:
                    axis.errorbar(
                        cell["mean"],
                        place + offset,
                        xerr=cell["error"] or 0.0,
                        fmt="o",
                        ms=3,
                        color=COLOURS[i % len(COLOURS)],
                        label=f"{result['damage']} {result['rate']:.0%}" if place == 0 else None,
                    )
        axis.set(title=table, xlabel="AUROC", yticks=[], ylim=(len(methods) - 0.5, -0.5))
    axes[0].set_yticks(range(len(methods)), methods)
    legend(axes[-1], of=axes[-1])
    return figure


def _differences(content: Content) -> "Figure":
    """AUROC differences to the baseline over all tables, with intervals; a panel per condition."""
    results = _results(content)
    compared = [
        m
        for m in content["methods"]
        if any("difference" in r["cells"].get(m, {}).get(ALL, {}) for r in results)
    ]
    figure, axes = panels(max(1, len(results)), height=1.0 + 0.25 * len(compared))
    colours = method_colours(content)
    for axis, result in zip(axes, results, strict=False):
        for place, method in enumerate(compared):
            cell = result["cells"].get(method, {}).get(ALL, {})
            if cell.get("low") is not None:
                axis.plot([cell["low"], cell["high"]], [place, place], color=colours[method], lw=2)
            if "difference" in cell:
                axis.plot(cell["difference"], place, "o", color=colours[method])
        axis.axvline(0, color=GREY, lw=0.8, ls="--")
        title = f"{result['damage']} {result['rate']:.0%}"
        axis.set(title=title, xlabel=f"AUROC vs {content['baseline']}", yticks=[])
        axis.set_ylim(max(1, len(compared)) - 0.5, -0.5)
    axes[0].set_yticks(range(len(compared)), compared)
    return figure


def _ranks(content: Content) -> "Figure":
    """Critical-difference diagram: mean ranks, with bars over insignificant differences."""
    comparison = content["comparison"]
    ranks = sorted(comparison["ranks"].items(), key=lambda item: (item[1], item[0]))
    figure, (axis,) = panels(height=1.0 + 0.25 * (len(ranks) + len(comparison["cliques"])))
    for place, (method, rank) in enumerate(ranks):
        axis.plot([rank, rank], [-0.6, place], color=GREY, lw=0.5)
        axis.plot(rank, place, "o", color=method_colours(content)[method])
        axis.annotate(
            f"{method} {rank:.2f}", (rank, place), xytext=(6, -3), textcoords="offset points"
        )
    for i, clique in enumerate(comparison["cliques"]):
        clique_ranks = [comparison["ranks"][m] for m in clique]
        row = len(ranks) + 0.5 * i
        axis.plot(
            [min(clique_ranks) - 0.05, max(clique_ranks) + 0.05], [row, row], color="#222222", lw=3
        )
    axis.set(yticks=[], xlabel="mean rank, 1 is best", xlim=(0.8, max(2, len(ranks)) + 0.8))
    axis.invert_yaxis()
    return figure


def _curves(content: Content) -> "Figure":
    """T2: a logistic regression on the remaining rows, means over all cells."""
    curves = content["curves"]
    figure, axes = panels(max(1, len(curves)), height=3.6)
    colours = method_colours(content)
    for axis, (name, lines) in zip(axes, sorted(curves.items()), strict=False):
        for i, (method, points) in enumerate(lines.items()):
            style = _STYLES[i // len(COLOURS) % len(_STYLES)]
            axis.plot(
                *zip(*points, strict=True), style, color=colours[method], label=method, lw=1.2
            )
        axis.set(title=name.replace("_", " "), xlabel="share removed")
    legend(axes[-1], of=axes[-1])
    return figure


def _cost(content: Content) -> "Figure":
    seconds = {m: s for m, f in content["facts"].items() if (s := f["fit_seconds"])}
    figure, (axis,) = panels(height=0.6 + 0.25 * max(1, len(seconds)))
    bars = axis.barh(list(seconds), list(seconds.values()), color="#a1d99b")
    axis.bar_label(bars, [f"{s:.3g} s" for s in seconds.values()], padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set(xlabel="seconds to fit, one thread")
    if seconds:
        axis.set_xscale("log")
        plain(axis.xaxis)
    return figure
