"""A config that notes which of its settings a stage reads: only a change of these concerns it."""

from collections.abc import Collection
from typing import Any

from reweight.core.job_config import JobConfig


class Watched:
    """Stands for a config in a stage; ``noted`` says what was read.

    A method of the config may read any setting, so calling one counts as reading all of them.

    Args:
        config: the config.
    """

    def __init__(self, config: JobConfig) -> None:
        self._config = config
        self._noted: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        """A setting, or whatever else the config has by this name."""
        if name.startswith("_"):
            raise AttributeError(name)
        kind = type(self._config)
        if name in kind.model_fields:
            self._noted.add(name)
            return getattr(self._config, name)
        member = getattr(kind, name)
        if isinstance(member, property):
            assert member.fget is not None
            return member.fget(self)
        if callable(member):
            self._noted.update(kind.model_fields)
        return getattr(self._config, name)


def noted(config: Watched, besides: Collection[str] = ()) -> dict[str, str]:
    """Name -> a hash of its value, of the settings that were read and that results depend on.

    Args:
        config: as it was given to a stage.
        besides: settings that do not count.
    """
    names = config._noted - set(besides)
    return {
        name: value_hash for name, value_hash in config._config.settings().items() if name in names
    }
