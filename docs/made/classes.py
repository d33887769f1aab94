"""Facts about the classes of the sources, read without importing them."""

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
    """An attribute of a class, or of its nearest base that has it."""
    return next((c.members[name] for c in ancestry(owner) if name in c.members), None)


def members_of_union(package: griffe.Module, name: str) -> list[griffe.Class]:
    """The classes of an annotated union, in its order."""
    union = ast.parse(str(package.members[name].value), mode="eval").body
    assert isinstance(union, ast.Subscript) and isinstance(union.slice, ast.Tuple)
    members, names = union.slice.elts[0], list[str]()
    while isinstance(members, ast.BinOp):
        names.insert(0, ast.unparse(members.right))
        members = members.left
    return [package[own].final_target for own in (ast.unparse(members), *names)]


def own_attributes(owner: griffe.Module | griffe.Class) -> dict[str, griffe.Attribute]:
    """The attributes that a module or class sets itself, without imports and bases."""
    return {n: m for n, m in owner.members.items() if not m.is_alias and m.is_attribute}


def declared(owner: griffe.Class, name: str) -> Any:
    """The value of a class attribute, or the first paragraph of the docstring of a property."""
    member = member_of(owner, name)
    if "property" in member.labels:
        return first_paragraph(member)
    return literal(member.value)


def literal(value: Any) -> Any:
    """The value of a literal expression, or the text of any other one."""
    try:
        return ast.literal_eval(str(value))
    except ValueError:
        return str(value)


def docstring(item: griffe.Object) -> str:
    """The docstring as written, or an empty string."""
    return item.docstring.value if item.docstring else ""


def first_paragraph(item: griffe.Object) -> str:
    """The first paragraph of the docstring, on one line."""
    return " ".join(docstring(item).split("\n\n")[0].split())


def described(owner: griffe.Object) -> dict[str, str]:
    """The entries of the docstring's section Attributes, by name."""
    meanings = {}
    for section in owner.docstring.parsed if owner.docstring else ():
        if section.kind is griffe.DocstringSectionKind.attributes:
            meanings |= {item.name: " ".join(item.description.split()) for item in section.value}
    return meanings


def resolved(owner: griffe.Object, name: str) -> Any:
    """The object that a name refers to in the owner's module; None if it is not of the library."""
    member = owner.module.members.get(name)
    try:
        return member.final_target if member is not None and member.is_alias else member
    except griffe.AliasResolutionError:
        return None


def called(member: griffe.Attribute) -> ast.Call | None:
    """The call that an attribute is set to, or None."""
    value = ast.parse(str(member.value), mode="eval").body if member.value is not None else None
    return value if isinstance(value, ast.Call) else None


def sections_in(owner: griffe.Class, annotation: str) -> Iterator[griffe.Class]:
    """The config classes that an annotation names."""
    for word in dict.fromkeys(re.findall(r"\b[A-Z]\w+", annotation)):
        if word in ("Literal", "Name", "Sql", "Method", "Share"):
            continue
        target = resolved(owner, word)
        if isinstance(target, griffe.Class) and any(b.name == "Section" for b in target.mro()):
            yield target
        elif isinstance(target, griffe.Attribute) and target.value is not None:
            # An alias, such as a union.
            yield from sections_in(target.parent, str(target.value))
