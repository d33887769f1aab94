"""A page for each stage."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import griffe

from made.classes import ROOT, docstring, first_paragraph, own_attributes, sections_in
from made.settings import settings_tree
from made.text import admonitions, documented, inline, markdown_table

_CONFIGS = ("RunConfig", "ConditionsConfig", "BenchmarkConfig")


@dataclass(frozen=True)
class StagePage:
    """A module of the package stages, with its functions that take a run."""

    module: griffe.Module
    functions: tuple[griffe.Function, ...]
    sections: dict[str, griffe.Class]

    @property
    def name(self) -> str:
        """Of the module."""
        return self.module.name

    def page(self, stages: "list[StagePage]") -> str:
        """The page of the stage."""
        parts = [f"# {self.name}"]
        for function in self.functions:
            title = [f"## `{function.name}`"] if len(self.functions) > 1 else []
            parts += [*title, documented(function.path)]
        parts += ["## What goes in and out", *admonitions(self.module)]
        job = ROOT / "jobs" / f"{self.name}.py"
        if job.is_file():
            parts.append(f"```console\n$ python jobs/{job.name} CONFIG [key=value ...]\n```")
        before = stages[: stages.index(self)]
        for name, section in self.sections.items():
            parts.append(f"## The section `{name}` {{#{name}}}")
            first = next((one for one in before if name in one.sections), None)
            if first is not None:
                parts.append(
                    f"It is read by [`{first.name}`]({first.name}.md#{name}) before; its settings "
                    "are told there."
                )
            else:
                parts += [settings_tree(section, name, 3)]
        if not self.sections:
            parts += ["## Settings", "It has none of its own."]
        return "\n\n".join(parts) + "\n"


def stage_pages(sources: griffe.Module) -> Iterator[StagePage]:
    """Those of the line in its order, then those on their own."""
    package = sources["stages"]
    told = ast.parse(str(package.members["PIPELINE"].value), mode="eval").body
    order = [name.id for name in told.elts]  # type: ignore[attr-defined]
    modules = [one for one in package.modules.values() if docstring(one).startswith("The stage")]
    modules.sort(key=lambda m: (order.index(m.name) if m.name in order else 99, m.name))
    known = {
        name: found[0]
        for config in _CONFIGS
        for name, member in own_attributes(sources["config"][config]).items()
        if member.annotation is not None
        and (found := list(sections_in(sources["config"][config], str(member.annotation))))
    }  # fmt: skip
    for module in modules:
        # A stage takes a run and gives a summary of what it did.
        functions = tuple(
            function
            for name, function in module.functions.items()
            if not name.startswith("_") and str(function.returns) == "dict[str, Any]"
            and len(function.parameters) == 1
        )  # fmt: skip
        used = re.findall(r"config\.(\w+)", Path(str(module.filepath)).read_text())
        yield StagePage(module, functions, {n: known[n] for n in dict.fromkeys(used) if n in known})


def stage_index(stages: list[StagePage]) -> str:
    """The page that lists the stages."""
    rows = [
        (f"[`{s.name}`]({s.name}.md)", inline(first_paragraph(s.functions[0])),
         ", ".join(f"[`{n}`](../config.md#{n})" for n in s.sections) or "none")
        for s in stages
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# Stages",
            "Data flows one way. Every stage reads [tables](../tables.md) and its sections of the "
            "[config](../config.md), writes tables or files, and can be started again at any "
            "time: it replaces what it wrote for the run.",
            "    raw logs -> events -> samples -> importance -> weights -> ranker -> metrics "
            "-> report",
            "`python jobs/pipeline.py CONFIG` runs the line from `simulate_logs` to `report`; "
            "every stage is also a job of its own.",
            markdown_table(("stage", "what it does", "sections that it reads"), rows),
        ]
    )
