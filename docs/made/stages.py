"""A page for each stage."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import griffe

from made.classes import ROOT, first_paragraph, own_attributes, sections_in
from made.settings import settings_tree
from made.text import admonitions, documented, inline, markdown_table

_CONFIGS = ("RunConfig", "ConditionsConfig", "BenchmarkConfig")
# A stage's page is named after its job: as its folder, with one exception.
_PAGE_NAMES = {"detection": "benchmark"}


@dataclass(frozen=True)
class StagePage:
    """A `stage.py`, its stage functions, and the config sections that it reads."""

    module: griffe.Module
    functions: tuple[griffe.Function, ...]
    sections: dict[str, griffe.Class]

    @property
    def name(self) -> str:
        """The name of the page and of the job."""
        assert self.module.parent is not None
        folder = self.module.parent.name
        return _PAGE_NAMES.get(folder, folder)

    def page(self, stages: "list[StagePage]") -> str:
        """The page of the stage."""
        parts = [f"# {self.name}"]
        for function in self.functions:
            title = [f"## `{function.name}`"] if len(self.functions) > 1 else []
            parts += [*title, documented(function.path)]
        parts += ["## Inputs and outputs", *admonitions(self.module)]
        job = ROOT / "jobs" / f"{self.name}.py"
        if job.is_file():
            parts.append(f"```console\n$ python jobs/{job.name} CONFIG [key=value ...]\n```")
        earlier = stages[: stages.index(self)]
        for name, section in self.sections.items():
            parts.append(f"## The section `{name}` {{#{name}}}")
            first = next((stage for stage in earlier if name in stage.sections), None)
            if first is None:
                parts.append(settings_tree(section, name, 3))
            else:
                parts.append(
                    f"Its settings are listed under [`{first.name}`]({first.name}.md#{name})."
                )
        if not self.sections:
            parts += ["## Settings", "This stage has no settings of its own."]
        return "\n\n".join(parts) + "\n"


def stage_modules(sources: griffe.Module) -> Iterator[griffe.Module]:
    """Every `stage.py` of the library."""
    for module in sources.modules.values():
        if module.name == "stage":
            yield module
        yield from stage_modules(module)


def stage_pages(sources: griffe.Module) -> Iterator[StagePage]:
    """The stages of the pipeline in its order, then the others by name."""
    order = _pipeline(sources)
    sections = _sections(sources["config"])
    pages = []
    for module in stage_modules(sources):
        # A stage function takes a run and returns a summary.
        functions = tuple(
            function
            for name, function in module.functions.items()
            if not name.startswith("_") and str(function.returns) == "dict[str, Any]"
            and len(function.parameters) == 1
        )  # fmt: skip
        keys = dict.fromkeys(re.findall(r"config\.(\w+)", _sources_of(module)))
        pages.append(StagePage(module, functions, {k: sections[k] for k in keys if k in sections}))
    place = {name: number for number, name in enumerate(order)}
    yield from sorted(pages, key=lambda p: (place.get(p.name, len(order)), p.name))


def _sources_of(module: griffe.Module) -> str:
    """The code of a stage: its own module, then those beside it."""
    own = Path(str(module.filepath))
    beside = sorted(path for path in own.parent.glob("*.py") if path != own)
    return "\n".join(path.read_text() for path in (own, *beside))


def _pipeline(sources: griffe.Module) -> list[str]:
    """The names of the stages of the pipeline, in its order."""
    value = ast.parse(str(sources["runner.pipeline"].members["PIPELINE"].value), mode="eval").body
    return [name.id for name in value.elts]  # type: ignore[attr-defined]


def _sections(config: griffe.Module) -> dict[str, griffe.Class]:
    """The sections of the configs, by key."""
    sections = {}
    for kind in _CONFIGS:
        for key, member in own_attributes(config[kind]).items():
            if "property" in member.labels:
                continue
            classes = list(sections_in(config[kind], str(member.annotation)))
            if classes:
                sections[key] = classes[0]
    return sections


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
            "[config](../config.md), and writes tables or files. A stage can be run again at any "
            "time: it replaces what it wrote for the run. It is run only if [something has changed]"
            "(../failures.md#only-what-changed-is-done-again).",
            "    raw logs -> events -> samples -> importance -> weights -> ranker -> metrics "
            "-> report",
            "`python jobs/pipeline.py CONFIG` runs the pipeline from `simulate_logs` to `report`; "
            "every stage is also a job of its own.",
            markdown_table(("stage", "what it does", "sections it reads"), rows),
        ]
    )
