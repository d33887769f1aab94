"""The rankers of the union, as a table."""

import griffe

from made.classes import declared, first_paragraph, literal, member_of, members_of_union
from made.text import inline, markdown_table, sentence


def ranker_table(sources: griffe.Module) -> str:
    """A row for each ranker."""
    rows = []
    for owner in members_of_union(sources["train_ranker.rankers"], "AnyRanker"):
        kind = literal(member_of(owner, "ranker").value)
        facts = (str(declared(owner, name)) for name in ("takes", "needs", "cost"))
        about = inline(sentence(first_paragraph(owner)))
        rows.append((f"[`{kind}`](config.md#rankers-{kind})", about, *map(inline, facts)))
    return markdown_table(("ranker", "what it is", "weights", "needs", "cost of a fit"), rows)
