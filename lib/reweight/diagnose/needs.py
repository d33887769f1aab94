"""What a config lacks for a fault to be seen: told before the minutes of work."""

from collections.abc import Iterator

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.diagnose import bursts, drift, groups, position
from reweight.diagnose.findings import Finding

# Faults that only show in time.
TIMED = (bursts.NAME, drift.RATE, drift.FEATURES, drift.RELATION)


def untimed(mechanism: str) -> Finding:
    """The finding on a fault that only shows in time, for a log without times."""
    text = "The log has no times (cleaning.times: false)."
    return Finding(mechanism, text, needs="the time of each event, as cleaning.columns.event_time")


def lacking(sampling: Sampling, features: Features, times: bool = True) -> Iterator[str]:
    """A line for each key without which a fault cannot be seen."""
    if not times:
        yield f"the log has no times, so these cannot be seen: {', '.join(TIMED)}"
    wants = {
        "sampling.keep.position": ("position" in sampling.keep, position.NAME),
        "features.categorical": (bool(features.categorical), position.NAME),
        "sampling.segment": (
            sampling.segment != Sampling.model_fields["segment"].default,
            groups.NAME,
        ),
        "sampling.group": (sampling.group is not None or not times, bursts.NAME),
    }
    for key, (is_set, mechanism) in wants.items():
        if not is_set:
            yield (
                f"{mechanism} cannot be seen without {key}: set it and run build_samples again, "
                "or read on without it"
            )
