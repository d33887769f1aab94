"""Queries and titles of a simulated search log: what people mean, in the words that they use.

Each item is a thing of a kind, such as a red sofa. Its title calls the thing and the kind by one of
several words of the same meaning, and so does a query: the query "crimson couch" asks for it.
People want what they asked for, whatever it is called.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

from reweight.core.hashing import uniform
from reweight.simulate_logs.section import THINGS, Search

# Words of one meaning; an item is one of these things.
_THINGS = (
    ("sofa", "couch", "settee"),
    ("lamp", "light", "lantern"),
    ("rug", "carpet", "mat"),
    ("bag", "handbag", "purse"),
    ("jacket", "coat", "parka"),
    ("shoes", "sneakers", "trainers"),
    ("trousers", "pants", "jeans"),
    ("sweater", "pullover", "jumper"),
    ("laptop", "notebook computer", "macbook"),
    ("phone", "smartphone", "cellphone"),
    ("television", "tv", "flat screen"),
    ("headphones", "earphones", "headset"),
    ("camera", "webcam", "camcorder"),
    ("bicycle", "bike", "cycle"),
    ("car", "automobile", "vehicle"),
    ("knife", "blade", "dagger"),
    ("pan", "skillet", "wok"),
    ("cup", "mug", "beaker"),
    ("wine", "champagne", "prosecco"),
    ("toy", "doll", "puppet"),
    ("medicine", "drug", "pill"),
    ("book", "novel", "paperback"),
    ("guitar", "ukulele", "banjo"),
    ("tent", "camping shelter", "canopy"),
)
_KINDS = (
    ("red", "crimson", "scarlet"),
    ("blue", "navy", "azure"),
    ("cheap", "affordable", "low cost"),
    ("large", "big", "huge"),
    ("small", "tiny", "mini"),
    ("wooden", "oak", "timber"),
)
_BRANDS = ("Alba", "Brevi", "Corlo", "Dentro", "Evano", "Fiori", "Grandu", "Helmo")


def thing(item: Column) -> Column:
    """The number of the thing that an item is; its neighbours by id are others."""
    return F.pmod(item, F.lit(THINGS)).cast("int")


def asked_thing(session: Column, seed: int) -> Column:
    """The number of the thing that a query asks for."""
    return F.floor(uniform(seed, "asked thing", session) * THINGS).cast("int")


def found(item: Column, asked: Column, first: Column, count: Column) -> Column:
    """The item of the asked thing that is nearest to a drawn item."""
    near = item - F.pmod(item, F.lit(THINGS)) + asked
    return F.when(near < first, near + THINGS).otherwise(
        F.when(near >= first + count, near - THINGS).otherwise(near)
    )


def query(session: Column, seed: int) -> Column:
    """A query, such as "crimson couch"."""
    return F.concat_ws(
        " ",
        _word(_KINDS, _asked_kind(session, seed), uniform(seed, "query kind", session)),
        _word(_THINGS, asked_thing(session, seed), uniform(seed, "query thing", session)),
    )


def title(item: Column, seed: int) -> Column:
    """A title, such as "Alba sofa, scarlet"."""
    brand = F.floor(uniform(seed, "brand", item) * len(_BRANDS)).cast("int")
    return F.concat(
        F.get(F.array(*map(F.lit, _BRANDS)), brand),
        F.lit(" "),
        _word(_THINGS, thing(item), uniform(seed, "title thing", item)),
        F.lit(", "),
        _word(_KINDS, _kind(item, seed), uniform(seed, "title kind", item)),
    )


def meets(session: Column, item: Column, search: Search, seed: int) -> Column:
    """What a match of query and item adds to the logit of relevance."""
    same_thing = asked_thing(session, seed) == thing(item)
    same_kind = _asked_kind(session, seed) == _kind(item, seed)
    return search.strength * (
        F.when(same_thing, 1.0).otherwise(-1.0) + F.when(same_thing & same_kind, 0.5).otherwise(0.0)
    )


def _kind(item: Column, seed: int) -> Column:
    return F.floor(uniform(seed, "kind", item) * len(_KINDS)).cast("int")


def _asked_kind(session: Column, seed: int) -> Column:
    return F.floor(uniform(seed, "asked kind", session) * len(_KINDS)).cast("int")


def _word(meanings: tuple[tuple[str, ...], ...], meaning: Column, drawn: Column) -> Column:
    """One of the words of a meaning."""
    words = F.array(*[F.array(*map(F.lit, words)) for words in meanings])
    return F.get(F.get(words, meaning), F.floor(drawn * len(meanings[0])).cast("int"))
