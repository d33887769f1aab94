"""What a class of the sources says, read without importing it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).parents[2]


def ancestry(owner: griffe.Class) -> list[griffe.Class]:
    """The class and its bases, nearest first."""
    return [owner, *owner.mro()]


def member_of(owner: griffe.Class, name: str) -> Any:
    """An attribute of a class or of the first of its bases that has it."""
    return next((one.members[name] for one in ancestry(owner) if name in one.members), None)


def own_attributes(one: griffe.Module | griffe.Class) -> dict[str, griffe.Attribute]:
    """What is set in a module or class itself, without what it imports."""
    return {n: m for n, m in one.members.items() if not m.is_alias and m.is_attribute}


def declared(owner: griffe.Class, name: str) -> Any:
    """What a class attribute is; the first line of the docstring where it is a property."""
    found = member_of(owner, name)
    if "property" in found.labels:
        return first_paragraph(found)
    return literal(found.value)


def literal(value: Any) -> Any:
    """The value of an expression, or its text where it is no literal."""
    try:
        return ast.literal_eval(str(value))
    except ValueError:
        return str(value)


def docstring(one: griffe.Object) -> str:
    """As it is written; empty where there is none."""
    return one.docstring.value if one.docstring else ""


def first_paragraph(one: griffe.Object) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(docstring(one).split("\n\n")[0].split())


def described(owner: griffe.Object) -> dict[str, str]:
    """What the section Attributes of a docstring says, by name."""
    found = {}
    for section in owner.docstring.parsed if owner.docstring else ():
        if section.kind is griffe.DocstringSectionKind.attributes:
            found |= {item.name: " ".join(item.description.split()) for item in section.value}
    return found


def resolved(owner: griffe.Object, name: str) -> Any:
    """What a name stands for in the module of an object."""
    found = owner.module.members.get(name)
    return found.final_target if found is not None and found.is_alias else found


def called(member: griffe.Attribute) -> ast.Call | None:
    """The call that gives an attribute its value."""
    value = ast.parse(str(member.value), mode="eval").body if member.value is not None else None
    return value if isinstance(value, ast.Call) else None


def sections_in(owner: griffe.Class, annotation: str) -> Iterator[griffe.Class]:
    """Config classes that an annotation names."""
    for word in dict.fromkeys(re.findall(r"\b[A-Z]\w+", annotation)):
        if word in ("Literal", "Name", "Sql", "Method", "Share"):
            continue
        found = resolved(owner, word)
        if isinstance(found, griffe.Class) and any(b.name == "Section" for b in found.mro()):
            yield found
