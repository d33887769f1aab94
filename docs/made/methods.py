"""A page for each method of the union."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import griffe

from made.classes import (
    ROOT,
    ancestry,
    declared,
    first_paragraph,
    literal,
    member_of,
    members_of_union,
    sections_in,
)
from made.settings import settings_of, settings_tree
from made.text import documented, indented, inline, markdown_table, sentence

# Modules that every method builds on: its page need not repeat them.
_COMMON = ("base", "section", "training")


@dataclass(frozen=True)
class MethodPage:
    """A method, and the page about it."""

    owner: griffe.Class

    @property
    def name(self) -> str:
        """The method's name in a config."""
        return str(literal(member_of(self.owner, "method").value))

    @property
    def importance(self) -> str:
        """What it computes for a row, in one sentence."""
        first = re.split(r"(?<=\.)\s", first_paragraph(self.owner.module))[0]
        return re.sub(rf"^`{self.name}`: *", "", first)

    @property
    def high(self) -> str:
        """The meaning of high importance."""
        if self.name in ("uniform", "random"):
            return "nothing"
        return str(declared(self.owner, "polarity"))

    def page(self) -> str:
        """The page of the method."""
        parts = [
            f"# {self.name}",
            documented(self.owner.module.path),
            "## At a glance",
            markdown_table(("", ""), self._facts()),
            "## When it helps, and when it hurts",
            documented(self.owner.path),
            *self._configured(),
            *self._built_on(),
            "## Source { data-search-exclude }",
            self._source(),
        ]
        return "\n\n".join(parts) + "\n"

    def _facts(self) -> list[tuple[str, ...]]:
        owner = self.owner
        facts = [
            ("assumes", sentence(str(declared(owner, "assumes")))),
            ("high importance means", self.high),
            (
                "importance below 0",
                _answer(declared(owner, "signed"), "yes: weights are based on ranks"),
            ),
            ("scoring a row needs its label", _answer(declared(owner, "uses_label"), "yes")),
            (
                "gives a [soft label](../glossary.md#soft-label)",
                _answer(declared(owner, "soft"), "yes"),
            ),
            ("columns it needs", self._needs()),
            ("what is trained", self._trained()),
            ("passes over the rows after training", self._passes()),
            ("cost of scoring a row", self._cost()),
        ]
        return [(f"**{name}**", inline(text)) for name, text in facts if text]

    def _cost(self) -> str:
        cost = str(declared(self.owner, "cost"))
        return f"{cost} ([F, M, E](../glossary.md#f-m-e))" if "F" in cost else cost

    def _needs(self) -> str:
        needs = declared(self.owner, "needs")
        training = self._training()
        trained_on = declared(training, "needs") if training is not None else ()
        if isinstance(needs, str):
            return needs
        names = sorted({*needs, *(trained_on if isinstance(trained_on, tuple) else ())})
        links = ", ".join(f"[`{name}`](../tables.md#samples)" for name in names)
        return links or "none besides features, ids and label"

    def _settings(self) -> griffe.Class | None:
        """The config class of the field `training`, or None."""
        field = member_of(self.owner, "training")
        if field is None:
            return None
        return next(iter(sections_in(field.parent, str(field.annotation))), None)

    def _training(self) -> griffe.Class | None:
        """The training: the settings themselves, or a class of the module that takes them."""
        settings = self._settings()
        if settings is not None and not _is_training(settings):
            classes = self.owner.module.classes.values()
            return next((c for c in classes if not c.is_alias and _is_training(c)), None)
        return settings

    def _trained(self) -> str:
        training, settings = self._training(), self._settings()
        learns = member_of(self.owner, "learns")
        if learns.parent.name != "ImportanceMethod" and training is not settings:
            text = sentence(first_paragraph(learns))
        elif settings is not None:
            text = sentence(first_paragraph(settings))
        elif declared(self.owner, "passes") > 0:
            text = "Nothing, before the passes below."
        else:
            text = "Nothing."
        if settings is not None:
            text = f"{text.rstrip('.')} ([settings](#settings-training))."
        if settings is not None and settings.name.startswith("Ensemble"):
            text += " Methods of a run with the same settings share it."
        return text

    def _passes(self) -> str:
        passes = declared(self.owner, "passes")
        return f"at most {passes}" if passes > 1 else str(passes)

    def _configured(self) -> list[str]:
        settings = settings_of(self.owner)
        required = "".join(f", {s.key}: ..." for s in settings if s.default == "required")
        entry = f"{{method: {self.name}{required}}}"
        parts = ["## Settings", f"```yaml\nimportance:\n  - {entry}\n```"]
        tree = settings_tree(self.owner, "settings", 3)
        parts.append(
            tree.replace("`settings.", "`") if tree else "This method has no settings of its own."
        )
        presets = self.owner.module.members.get("_PRESETS")
        if presets is not None:
            values = literal(presets.value)
            keys = sorted({key for preset in values.values() for key in preset})
            rows = [(f"`{n}`", *[f"`{p.get(k)}`" for k in keys]) for n, p in values.items()]
            parts.append(markdown_table(("`preset`", *[f"`{key}`" for key in keys]), rows))
        default = member_of(self.owner, "default_name")
        inherited = default.parent is _base(self.owner)
        name = "the method's name." if inherited else first_paragraph(default)
        parts.append(
            f"`name` is its name in tables and reports; the default is {name} The section "
            "[`weighting`](../config.md#weighting) turns importance into weights."
        )
        return parts

    def _built_on(self) -> list[str]:
        """The docstrings of the modules that the method and its training are built on."""
        training = self._training()
        classes = [*ancestry(self.owner), *(ancestry(training) if training is not None else ())]
        modules = dict.fromkeys(kind.module.path for kind in classes)
        shared = [path for path in modules if path.rpartition(".")[2] not in _COMMON]
        parts = [
            f"### `{path.rpartition('.')[2]}`\n\n{documented(path)}"
            for path in shared
            if path != self.owner.module.path
        ]
        return ["## Built on", *parts] if parts else []

    def _source(self) -> str:
        path = Path(str(self.owner.filepath)).relative_to(ROOT)
        code = Path(str(self.owner.filepath)).read_text()
        return f'??? quote "`{path}`"\n\n' + indented(f"```python\n{code.strip()}\n```")


def _base(owner: griffe.Class) -> griffe.Class:
    return next(kind for kind in ancestry(owner) if kind.name == "ImportanceMethod")


def _is_training(kind: griffe.Class) -> bool:
    return any(base.name == "Training" for base in kind.mro())


def _answer(value: Any, yes: str) -> str:
    """The text for a flag; a property's is its docstring."""
    return value if isinstance(value, str) else yes if value else "no"


def method_pages(sources: griffe.Module) -> Iterator[MethodPage]:
    """The methods, in the order of the union."""
    for owner in members_of_union(sources["importance.methods"], "Method"):
        yield MethodPage(owner)


def method_index(methods: list[MethodPage]) -> str:
    """The page that lists the methods."""
    rows = [
        (f"[`{m.name}`]({m.name}.md)", inline(m.importance), m.high,
         inline(str(declared(m.owner, "assumes"))))
        for m in methods
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# Methods",
            "A method gives every sample a number, its importance. One policy for all methods "
            "(section [`weighting`](../config.md#weighting)) turns it into weights. Which method "
            "to try depends on [what went wrong in your log](../which_method.md).",
            markdown_table(("method", "what it is", "high means", "it assumes that"), rows),
            "A method is one file in `lib/reweight/importance/methods` and one line in the union "
            "of its `__init__.py`. Its page is generated from that file.",
        ]
    )
