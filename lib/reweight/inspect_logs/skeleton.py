"""The sections after ``cleaning``: a minimum that loads, and lines to fill in."""

from collections.abc import Sequence

from reweight.inspect_logs.events import Event, Events
from reweight.inspect_logs.naming import KEPT
from reweight.inspect_logs.page import Page

_CLICKS = {"click", "clicks", "clicked", "view", "views", "pv", "impression", "show", "shown"}
_BUYS = {"buy", "buys", "purchase", "purchased", "order", "orders", "transaction", "conversion"}
_LABELS = {
    *("label", "click", "clicked", "bought", "purchase", "purchased", "converted", "conversion"),
    *("target", "revenue", "buy", "is"),
}
_USERS = ("user", "customer", "visitor", "session", "member", "person", "client", "uid")
_ITEMS = ("item", "product", "article", "sku", "aid", "stock", "movie", "offer")
# Of names that say what kind of user or item it is.
_KINDS = {"type", "feature", "kind", "category", "affinity", "related", "name", "group"}


def write(page: Page, found: Sequence[Events]) -> None:
    """Writes ``sampling``, ``splits``, ``features`` and ``importance``."""
    columns = {e.name: e for of in found for e in of.columns}
    _sampling(page, columns)
    timed = all(of.time is not None for of in found)
    page.set(0, "splits", {"by": "time" if timed else "row", "shares": [0.6, 0.2, 0.2]})
    page.blank()
    _features(page, list(columns.values()), timed)
    page.blank()
    page.set(0, "importance")
    page.lines += ["  - {method: random}", "  - {method: importance_mlp}"]


def _sampling(page: Page, columns: dict[str, Event]) -> None:
    user, item = _named(columns, _USERS), _named(columns, _ITEMS)
    keys = [e for e in (user, item) if e] or list(columns)[:1]
    page.comment(0, "To fill in: what a sample is, and what makes it positive (docs/own_logs.md).")
    page.set(0, "sampling")
    kind, click, buy = _kinds(columns)
    label = _label(columns)
    if kind:
        page.off(1, "anchor", f"{kind} = '{click}'", "the events that are samples")
    page.off(1, "key", [*keys, "event_time"], "what identifies a sample")
    page.off(1, "group", user or "user_id", "whose samples belong together")
    if kind or label is None:
        where = f"{kind} = '{buy}'" if kind else "event_type = 'purchase'"
        linked = {"where": where, "keys": keys or ["user_id"], "window": "3 days"}
        page.off(1, "label", linked, "a sample is positive if such an event follows")
    if label is not None:
        page.comment(1, f"a guess, by the name and values of {label}: the label is in its row")
        page.set(1, "label", {"value": label})
    else:
        page.comment(1, "no label yet: replace this line")
        page.set(1, "label", {"value": "cast(null AS float)"})
    if "segment" in columns:
        page.set(1, "segment", "segment")
    if kept := {name: name for name in KEPT if name in columns}:
        page.comment(1, "by their names: columns that methods can use")
        page.set(1, "keep", kept)
    page.blank()


def _features(page: Page, columns: Sequence[Event], timed: bool) -> None:
    page.comment(
        0, "To fill in: what was known before the label; leave out what the label follows from."
    )
    page.set(0, "features")
    # Without times their parts say nothing, but a section is needed.
    page.set(1, "cyclic", ["hour_of_day", "day_of_week"] if timed else [])
    numeric = {e.name: e.name for e in columns if e.guess.kind == "number"}
    if numeric:
        page.off(1, "numeric", dict(list(numeric.items())[:5]))
    few = [e.name for e in columns if e.guess.kind == "text" and len(e.guess.counts) > 1]
    if few:
        page.off(1, "one_hot", {n: {"value": n, "values": 10} for n in few[:3]})


def _named(columns: dict[str, Event], words: Sequence[str]) -> str | None:
    """The column whose name has one of the words, an id before others."""
    candidates = [
        (place, "id" not in name, name)
        for name in columns
        for place, word in enumerate(words)
        if (word in name.split("_") or name.startswith(word)) and not _KINDS & set(name.split("_"))
    ]
    return min(candidates)[2] if candidates else None


def _kinds(columns: dict[str, Event]) -> tuple[str | None, str, str]:
    """The column that says what kind of event a row is, and two of its values."""
    for name, event in columns.items():
        counts = event.guess.counts
        buys = [v for v in counts if v.lower() in _BUYS]
        clicks = sorted((v for v in counts if v.lower() in _CLICKS), key=lambda v: -counts[v])
        if event.guess.kind == "text" and buys and clicks:
            return name, clicks[0], buys[0]
    return None, "click", "purchase"


def _label(columns: dict[str, Event]) -> str | None:
    for name, event in columns.items():
        words = set(name.split("_"))
        two = event.guess.kind == "boolean" or (
            event.guess.kind == "integer" and set(event.guess.counts) == {"0", "1"}
        )
        if two and words & _LABELS:
            return name
    return None
