"""A page for each member of the union of methods."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import griffe

from made.classes import ROOT, ancestry, declared, first_paragraph, literal, member_of, sections_in
from made.settings import settings_of, settings_tree
from made.text import documented, indented, inline, markdown_table, sentence

# Modules of what every method is.
_OF_ALL = ("base", "section", "training")


@dataclass(frozen=True)
class MethodPage:
    """A member of the union."""

    owner: griffe.Class

    @property
    def name(self) -> str:
        """As configs say it."""
        return str(literal(member_of(self.owner, "method").value))

    @property
    def importance(self) -> str:
        """What it gives a row, in a line."""
        first = re.split(r"(?<=\.)\s", first_paragraph(self.owner.module))[0]
        return re.sub(rf"^`{self.name}`: *", "", first)

    @property
    def high(self) -> str:
        """What high importance means."""
        if self.name in ("uniform", "random"):
            return "nothing"
        return str(declared(self.owner, "polarity"))

    def page(self) -> str:
        """The page of the method."""
        parts = [
            f"# {self.name}",
            documented(self.owner.module.path),
            "## In short",
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
                _yes(declared(owner, "signed"), "yes: weights are made of ranks"),
            ),
            ("needs a row's label to score it", _yes(declared(owner, "uses_label"), "yes")),
            (
                "gives a [soft label](../glossary.md#soft-label)",
                _yes(declared(owner, "soft"), "yes"),
            ),
            ("columns that it needs", self._needs()),
            ("what is trained", self._trained()),
            ("passes over the rows after the training", self._passes()),
            ("cost of scoring a row", self._cost()),
        ]
        return [(f"**{name}**", inline(text)) for name, text in facts if text]

    def _cost(self) -> str:
        cost = str(declared(self.owner, "cost"))
        return f"{cost} ([F, M, E](../glossary.md#f-m-e))" if "F" in cost else cost

    def _needs(self) -> str:
        own = declared(self.owner, "needs")
        training = self._training()
        more = declared(training, "needs") if training is not None else ()
        if isinstance(own, str):
            return own
        names = sorted({*own, *(more if isinstance(more, tuple) else ())})
        told = ", ".join(f"[`{name}`](../tables.md#samples)" for name in names)
        return told or "none beside features, ids and label"

    def _training(self) -> griffe.Class | None:
        field = member_of(self.owner, "training")
        if field is None:
            return None
        return next(iter(sections_in(field.parent, str(field.annotation))), None)

    def _trained(self) -> str:
        training, learns = self._training(), member_of(self.owner, "learns")
        if training is not None:
            told = sentence(first_paragraph(training)).rstrip(".")
            shared = " Equal trainings of a run are one." if training.name[:8] == "Ensemble" else ""
            return f"{told} ([settings](#settings-training)).{shared}"
        if learns.parent.name == "ImportanceMethod":
            learns_later = declared(self.owner, "passes") > 0
            return "Nothing before the passes below." if learns_later else "Nothing."
        return sentence(first_paragraph(learns))

    def _passes(self) -> str:
        passes = declared(self.owner, "passes")
        return f"at most {passes}" if passes > 1 else str(passes)

    def _configured(self) -> list[str]:
        settings = settings_of(self.owner)
        own = "".join(f", {one.key}: ..." for one in settings if one.default == "required")
        parts = ["## Settings", f"```yaml\nimportance:\n  - {{method: {self.name}{own}}}\n```"]
        tree = settings_tree(self.owner, "settings", 3)
        parts.append(tree.replace("`settings.", "`") if tree else "None of its own.")
        presets = self.owner.module.members.get("_PRESETS")
        if presets is not None:
            values = literal(presets.value)
            keys = sorted({key for one in values.values() for key in one})
            rows = [(f"`{n}`", *[f"`{one.get(k)}`" for k in keys]) for n, one in values.items()]
            parts.append(markdown_table(("`preset`", *[f"`{key}`" for key in keys]), rows))
        default = member_of(self.owner, "default_name")
        named = (
            first_paragraph(default)
            if default.parent is not _base(self.owner)
            else "the method's name."
        )
        parts.append(
            f"With `name` it has another name in tables and reports; by default it is {named} "
            "One policy makes weights of importance: section "
            "[`weighting`](../config.md#weighting)."
        )
        return parts

    def _built_on(self) -> list[str]:
        """What the modules say that the method, or what it trains, is made of."""
        training = self._training()
        line = [*ancestry(self.owner), *(ancestry(training) if training is not None else ())]
        modules = dict.fromkeys(one.module.path for one in line)
        shared = [path for path in modules if path.rpartition(".")[2] not in _OF_ALL]
        parts = [
            f"### `{path.rpartition('.')[2]}`\n\n{documented(path)}"
            for path in shared
            if path != self.owner.module.path
        ]
        return ["## What it is built on", *parts] if parts else []

    def _source(self) -> str:
        path = Path(str(self.owner.filepath)).relative_to(ROOT)
        code = Path(str(self.owner.filepath)).read_text()
        return f'??? quote "`{path}`"\n\n' + indented(f"```python\n{code.strip()}\n```")


def _base(owner: griffe.Class) -> griffe.Class:
    return next(one for one in ancestry(owner) if one.name == "ImportanceMethod")


def _yes(value: Any, told: str) -> str:
    """Of a property its docstring."""
    return value if isinstance(value, str) else told if value else "no"


def method_pages(sources: griffe.Module) -> Iterator[MethodPage]:
    """The union, which is the only list of methods."""
    union = sources["importance"].members["Method"]
    for node in ast.walk(ast.parse(str(union.value), mode="eval")):
        if isinstance(node, ast.Subscript):
            members = node.slice.elts[0]  # type: ignore[attr-defined]
            break
    names: list[str] = []
    while isinstance(members, ast.BinOp):
        names.insert(0, members.right.id)  # type: ignore[attr-defined]
        members = members.left
    for name in [members.id, *names]:
        yield MethodPage(sources["importance"][name].final_target)


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
            "A method gives every sample a number, its importance; one policy for all of them "
            "(section [`weighting`](../config.md#weighting)) makes weights of it. Which of them "
            "to try on a log is a matter of [what went wrong in it](../which_method.md).",
            markdown_table(("method", "what it is", "high means", "it assumes that"), rows),
            "A method is a file of `lib/reweight/importance` and a name in the union of its "
            "`__init__.py`. Its page is made of these.",
        ]
    )
