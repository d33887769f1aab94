"""Items of a simulated news log: they live for a few days, and some titles promise too much.

An item is a place in which one article follows another. An article fades while it is shown. A title
that is bait is clicked more often, and what is clicked is read less often:

    logit P(click | seen) + bait z - fades age / life;   logit P(read | click) - bait z
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

from reweight.core.hashing import uniform
from reweight.simulate_logs.section import News

_DAY = 86_400


def article(place: Column, passed: Column, places: int, news: News, seed: int) -> Column:
    """The id of the article in a place.

    Args:
        place: number of the place, below ``places``.
        passed: seconds since the log began.
        places: number of places.
        news: the section.
        seed: the run's seed.
    """
    edition = F.floor((passed + _offset(place, news, seed)) / _life(news)).cast("long")
    return place + places * edition


def published(item: Column, places: int, news: News, seed: int) -> Column:
    """When an article appeared, in seconds since the log began; may be before it."""
    edition, place = F.floor(item / places), item % places
    return F.floor(edition * _life(news) - _offset(place, news, seed)).cast("long")


def fading(passed: Column, since: Column, news: News) -> Column:
    """What age takes from the logit of a click, centred."""
    return news.fades * (F.lit(0.5) - (passed - since) / _life(news))


def _offset(place: Column, news: News, seed: int) -> Column:
    return uniform(seed, "published", place) * _life(news)


def _life(news: News) -> float:
    return news.life_days * _DAY
