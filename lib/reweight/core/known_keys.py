"""The keys that a config may have, read from its JSON schema: for a hint at an unknown one."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import TypeAdapter

Node = Mapping[str, Any]


def meant_key(kind: Any, place: Sequence[int | str]) -> str | None:
    """What was probably meant by an unknown key: one that is spelled much like it, or a section's.

    Args:
        kind: the type that the values were validated as.
        place: path of the key, as in the errors of pydantic.
    """
    schema = TypeAdapter(kind).json_schema()
    *above, key = place
    nodes: list[Node] = [schema]
    for part in above:
        nodes = [child for node in nodes for child in _below(schema, node, part)]
    known = [name for node in nodes for name in _properties(schema, node)]
    # Whatever their case: `c` is not near to `C` otherwise.
    in_small = {name.lower(): name for name in known}
    if near := get_close_matches(str(key).lower(), in_small, n=1):
        return f"did you mean {in_small[near[0]]}?"
    sections = [
        f"{section}.{key}"
        for section in _properties(schema, schema)
        for node in _below(schema, schema, section)
        if key in _properties(schema, node)
    ]
    return f"there is {' and '.join(sections)}" if sections else None


def _below(schema: Node, node: Node, part: int | str) -> Iterator[Node]:
    """What a part of a path leads to; the kind of an item of a union is a part of its own."""
    for one in _alternatives(schema, node):
        if isinstance(part, int):
            if "items" in one:
                yield one["items"]
            continue
        properties = one.get("properties", {})
        if part in properties:
            yield properties[part]
        elif any(value.get("const") == part for value in properties.values()):
            yield one
        else:
            # The names in it are the user's.
            yield from one.get("patternProperties", {}).values()
            if isinstance(further := one.get("additionalProperties"), Mapping):
                yield further


def _properties(schema: Node, node: Node) -> list[str]:
    return [key for one in _alternatives(schema, node) for key in one.get("properties", {})]


def _alternatives(schema: Node, node: Node) -> Iterator[Node]:
    """The node itself, or what it refers to and is a union of."""
    if "$ref" in node:
        yield from _alternatives(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    elif union := [*node.get("oneOf", ()), *node.get("anyOf", ())]:
        for one in union:
            yield from _alternatives(schema, one)
    else:
        yield node
