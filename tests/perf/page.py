"""The page of a measurement: a table, and bars against goals."""

import io
from typing import Any

from jinja2 import Environment
from matplotlib.figure import Figure as Plot
from tests.perf.measuring import Figure

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>reweight: perf</title>
<style>body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; }
td, th { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #eee; }
.no { color: #b03000; } .yes { color: #00704a; } small { color: #666; } svg { max-width: 100%; }
</style>
<h1>Ratios measured in one run</h1><p>{{ date }}, {{ machine }}</p>{{ plot | safe }}
<table><tr><th>what</th><th>ratio</th><th>to reach</th><th>measured</th></tr>
{% for f in figures %}<tr><td>{{ f.name }}</td>
<td class="{{ marks[f.reached] }}">{{ '%.2f' | format(f.value) }}</td>
<td>{{ f.goal }}</td><td><small>{{ f.detail }}</small></td></tr>{% endfor %}</table></html>"""


def render(content: dict[str, Any]) -> str:
    """One HTML file that needs nothing beside it."""
    figures = [Figure(**figure) for figure in content["figures"]]
    template = Environment(autoescape=True).from_string(_PAGE)
    marks = {True: "yes", False: "no", None: ""}
    return template.render(content | {"figures": figures, "plot": _bars(figures), "marks": marks})


def _bars(figures: list[Figure]) -> str:
    """Each ratio over its goal: the line at 1 is the goal, the good side says the colour."""
    # Of a goal of 0 nothing is a share.
    own = [figure for figure in figures if figure.bound]
    plot = Plot(figsize=(10, 0.8 + 0.28 * len(own)), layout="constrained")
    axis = plot.subplots()
    shares = [figure.value / figure.bound for figure in own if figure.bound]
    colours = ["#00704a" if figure.reached else "#b03000" for figure in own]
    axis.barh([f"{f.name}  {f.goal}" for f in own], shares, color=colours)
    axis.axvline(1, color="#555555", lw=0.8, ls="--")
    axis.invert_yaxis()
    axis.set_xlabel("measured / goal")
    text = io.StringIO()
    plot.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]
