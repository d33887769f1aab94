"""Label events that make several samples positive, such as a purchase after two impressions."""

import json
from collections.abc import Mapping
from pathlib import Path

from reweight.build_samples.sampling import Sampling
from reweight.core.section import Section


class LabelEvents(Section):
    """The label events of a run's samples.

    Attributes:
        events: those that are the first one after some sample.
        shared: those of them that make several samples positive.
        attributed: those that would, if ``sampling.label.attribute`` did not choose one.
        attribute: ``last`` or ``first``; None where each sample is positive.
        keys: what links a label event to its samples.
    """

    events: int
    shared: int = 0
    attributed: int = 0
    attribute: str | None = None
    keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, facts: Mapping[str, int], sampling: Sampling) -> "LabelEvents":
        """Made of the counts ``label_events`` and ``shared_events``."""
        several, attribute = facts["shared_events"], sampling.label.attribute
        return cls(
            events=facts["label_events"],
            shared=0 if attribute else several,
            attributed=several if attribute else 0,
            attribute=attribute,
            keys=sampling.label.keys,
        )

    @property
    def shared_share(self) -> float:
        """Shared label events as a share of all."""
        return self.shared / max(1, self.events)

    def said(self) -> dict[str, str]:
        """For the summary; nothing if every label event has one sample."""
        several = self.shared or self.attributed
        if not several:
            return {}
        follow = f"{several:,} of {self.events:,} follow several samples of the same "
        follow += ", ".join(self.keys)
        if self.attribute:
            return {"label events": f"{follow}, and count for the {self.attribute} of them"}
        return {"label events": f"{follow}, and make each of them positive"}


def read_label_events(path: Path) -> LabelEvents | None:
    """What a run knows of its label events; None if an earlier version built its samples."""
    return LabelEvents.model_validate(json.loads(path.read_text())) if path.exists() else None
