"""What looks like a client of Spark Connect, without a server."""

from types import SimpleNamespace
from typing import cast

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession


class Client:
    """Looks like a client of Spark Connect."""

    __module__ = "pyspark.sql.connect.session"

    def __init__(self) -> None:
        self.client = SimpleNamespace(host="localhost")
        self.tags: list[str] = []
        self.conf = SimpleNamespace(get=lambda *_: "local[2]", set=self.refuse)

    def sql(self, text: str) -> None:
        self.tags.append(text.split()[0])
        if text.startswith("DESCRIBE"):
            raise PySparkException("[DELTA_TABLE_ONLY_OPERATION]")

    def refuse(self, key: str, value: str) -> None:
        if "timeZone" not in key:
            raise PySparkException(f"[CONFIG_NOT_AVAILABLE] {key}")

    def addTag(self, tag: str) -> None:  # noqa: N802
        self.tags.append(tag)

    def removeTag(self, tag: str) -> None:  # noqa: N802
        self.tags.append(f"no {tag}")

    def interruptTag(self, tag: str) -> None:  # noqa: N802
        self.tags.append(f"stop {tag}")


def client() -> SparkSession:
    return cast(SparkSession, Client())
