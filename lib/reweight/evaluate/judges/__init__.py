"""The judges, one file each. The union below is the only list of them."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field

from reweight.core.section import Name, repeated
from reweight.evaluate.judges.base import Judge, Known
from reweight.evaluate.judges.position import Position
from reweight.evaluate.judges.random_traffic import RandomTraffic
from reweight.evaluate.judges.recorded import Recorded
from reweight.evaluate.judges.settled import Settled
from reweight.evaluate.judges.trusted import Trusted
from reweight.evaluate.judges.truth import Truth

AnyJudge = Annotated[
    Recorded | RandomTraffic | Position | Settled | Trusted | Truth, Field(discriminator="judge")
]
JUDGES: dict[str, type[Judge]] = {
    kind.model_fields["judge"].default: kind for kind in get_args(get_args(AnyJudge)[0])
}
# The judge that every comparison includes.
RECORDED = "recorded"


def _with_kinds(judges: Any) -> Any:
    """Names the kind of each judge: by default its name, or `trusted` if it has a label."""
    if judges is None:
        return {}
    if not isinstance(judges, dict):
        raise ValueError("expected names and judges, such as judges: {truth: {}, recorded: {}}")
    complete = {}
    for name, given in judges.items():
        values = {} if given is None else given
        if isinstance(values, dict) and "judge" not in values:
            kind = name if name in JUDGES else "trusted" if "label" in values else None
            if kind is None:
                raise ValueError(
                    f"'{name}': expected the kind of the judge; write `judge:` with one of "
                    f"{sorted(JUDGES)}, or a `label`"
                )
            values = values | {"judge": kind}
        complete[name] = values
    if twice := repeated(str(name) for name in complete):
        raise ValueError(f"expected different names (case does not count), got {twice}")
    recorded = complete.get(RECORDED, {})
    if isinstance(recorded, dict) and (recorded.get("judge", RECORDED), recorded.get("label")) != (
        RECORDED,
        None,
    ):
        raise ValueError(
            f"{RECORDED}: expected the labels of the log, got {recorded}; choose another name"
        )
    return complete


# Name -> judge, in the order in which they are believed.
Judges = Annotated[dict[Name, AnyJudge], BeforeValidator(_with_kinds)]


def all_judges(judges: Mapping[str, Judge]) -> dict[str, Judge]:
    """The judges, with the recorded labels as the last unless they are listed."""
    return dict(judges) | ({} if RECORDED in judges else {RECORDED: Recorded()})


def recorded_alone(judges: Mapping[str, Judge]) -> bool:
    """Whether only the labels of the log judge, and all rows alike.

    Rows have these labels themselves; any other judge, also a ``recorded`` with a condition or a
    weight, reads the samples.
    """
    return dict(judges) == {RECORDED: Recorded()}


__all__ = ["JUDGES", "RECORDED", "Judge", "Judges", "Known", "all_judges", "recorded_alone"]
