"""What a config lacks for a mechanism to be seen: told before the minutes of work."""

from collections.abc import Iterator

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.diagnose import bursts, groups, position


def lacking(sampling: Sampling, features: Features) -> Iterator[str]:
    """A line for each key without which a mechanism cannot be seen."""
    wants = {
        "sampling.keep.position": ("position" in sampling.keep, position.NAME),
        "features.categorical": (bool(features.categorical), position.NAME),
        "sampling.segment": (
            sampling.segment != Sampling.model_fields["segment"].default,
            groups.NAME,
        ),
        "sampling.group": (sampling.group is not None, bursts.NAME),
    }
    for key, (given, mechanism) in wants.items():
        if not given:
            yield (
                f"{mechanism} cannot be seen without {key}: set it and run build_samples again, "
                "or read on without it"
            )
