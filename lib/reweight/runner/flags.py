"""Options of a job that set what its config would set: ``--challenger RUN`` and the like."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Flag:
    """An option of a job.

    Attributes:
        name: the option without its dashes.
        setting: the setting that it sets, such as ``promotion.challenger``.
        metavar: what its value is called; None for an option that stands for ``true``.
        help: what it does.
    """

    name: str
    setting: str
    metavar: str | None
    help: str

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Adds the option to a parser."""
        text = f"{self.help} (the setting {self.setting})"
        option = f"--{self.name}"
        if self.metavar is None:
            parser.add_argument(option, dest=self.setting, action="store_true", help=text)
        else:
            parser.add_argument(option, dest=self.setting, metavar=self.metavar, help=text)


def day_flags(section: str) -> tuple[Flag, ...]:
    """The options of a job whose section asks for days (``core.asked_days``)."""
    return (
        Flag("day", f"{section}.day", "DAY", "the day, UTC, such as 2026-01-31"),
        Flag("from", f"{section}.begin", "DAY", "the first of several days"),
        Flag("to", f"{section}.end", "DAY", "the last of several days"),
    )


def overrides(flags: Sequence[Flag], arguments: argparse.Namespace) -> list[str]:
    """What the given options set, as overrides of the config."""
    settings = {flag.setting: getattr(arguments, flag.setting) for flag in flags}
    # As YAML texts, so that a run called 20260131 and a day stay what they are.
    return [f"{name}={json.dumps(value)}" for name, value in settings.items() if value]
