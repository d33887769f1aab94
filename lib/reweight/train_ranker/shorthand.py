"""The section ``ranking``: short for a list ``rankers`` of one logistic regression."""

from collections.abc import Mapping
from typing import Any

_KIND = "logistic_regression"
# Place at validation -> place in the file.
SHORTHAND: Mapping[tuple[int | str, ...], tuple[int | str, ...]] = {
    ("rankers", 0, _KIND): ("ranking",)
}


def without_shorthand(data: Any) -> Any:
    """A config's values with ``rankers`` in place of ``ranking``; ``ranking: null`` is nothing.

    Raises:
        ValueError: there are both.
    """
    if not isinstance(data, dict) or "ranking" not in data:
        return data
    ranking = data["ranking"]
    rest = {key: value for key, value in data.items() if key != "ranking"}
    if ranking is None:
        return rest
    if not isinstance(ranking, dict):
        raise ValueError(
            "ranking: expected the settings of one logistic regression, got "
            f"{str(ranking)[:80]!r}; write ranking: {{C: 0.1}}, or a list `rankers`"
        )
    if "rankers" in data:
        raise ValueError(_both_given(ranking, data["rankers"]))
    return rest | {"rankers": [{"ranker": _KIND} | ranking]}


def _both_given(ranking: Mapping[str, Any], rankers: Any) -> str:
    kinds = [r.get("ranker") if isinstance(r, dict) else r for r in rankers or ()]
    if _KIND in kinds:
        place = kinds.index(_KIND)
        fix = " ".join(f"rankers.{place}.{key}={value}" for key, value in ranking.items())
    else:
        settings = "".join(f", {key}: {value}" for key, value in ranking.items())
        fix = f"- {{ranker: {_KIND}{settings}}} in the list"
    return (
        "ranking, rankers: expected one of them, since `ranking` is short for a list of one "
        f"logistic regression; got both; write ranking: null beside `rankers`, and if its settings "
        f"still count, {fix}"
    )
