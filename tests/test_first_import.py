"""Any module of the library can be the first that a program imports."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parents[1] / "lib"


# What a statement imports from the library, if it does, and the names that it gives to its module.
Step = tuple[str, tuple[str, ...], frozenset[str]]


@cache
def steps(module: str) -> tuple[Step, ...] | None:
    """What the statements of a module do on import; None if the library has no such module."""
    path = LIBRARY.joinpath(*module.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.exists():
            return tuple(_step(node) for node in _executed(ast.parse(file.read_text()).body))
    return None


def _executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run on import, those of conditions and attempts included."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _executed(node.body)
        else:
            yield node


def _step(node: ast.stmt) -> Step:
    if isinstance(node, ast.Import | ast.ImportFrom):
        bound = {alias.asname or alias.name.split(".")[0] for alias in node.names}
        source = str(node.module) if isinstance(node, ast.ImportFrom) else ""
        if source.startswith("reweight"):
            return source, tuple(alias.name for alias in node.names), frozenset(bound)
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        bound = {node.name}
    else:
        bound = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return "", (), frozenset(bound)


class Program:
    """A program that imports modules one after the other, as Python does, without running them.

    Attributes:
        names: of each module that has begun, the names that it has so far.
        missing: what was imported before it was there.
    """

    def __init__(self) -> None:
        self.names: dict[str, set[str]] = {}
        self.missing: list[str] = []

    def imports(self, module: str) -> None:
        """Imports a module, and the folders that it is in, unless that has begun."""
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name not in self.names and (own := steps(name)) is not None:
                self.names[name] = set()
                for source, wanted, bound in own:
                    if source:
                        self._from(name, source, wanted)
                    self.names[name] |= bound

    def _from(self, module: str, source: str, wanted: tuple[str, ...]) -> None:
        self.imports(source)
        for name in wanted:
            self.imports(f"{source}.{name}")
            if name not in self.names[source] and steps(f"{source}.{name}") is None:
                self.missing.append(f"{module} needs {name} of {source}")


def test_every_module_can_be_imported_first() -> None:
    paths = [p.relative_to(LIBRARY).with_suffix("") for p in LIBRARY.rglob("*.py")]
    modules = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    assert len(modules) > 300
    circular = {}
    for module in modules:
        program = Program()
        program.imports(module)
        if program.missing:
            circular[module] = program.missing
    assert not circular
