"""What the library says while it works: lines of the logger ``reweight``, and progress bars."""

import logging
import sys
from typing import Any, TextIO

# Names of loggers whose lines begin a part of the work; the lines of others are indented below.
_HEADINGS = ("reweight.runner.job", "reweight.heading")
_MARKS = {logging.WARNING: "warning: ", logging.ERROR: "error: ", logging.CRITICAL: "error: "}


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        indent = "" if record.name in _HEADINGS else "  "
        return indent + _MARKS.get(record.levelno, "") + super().format(record)


class _Standard(logging.StreamHandler[TextIO]):
    """Writes to the standard output of the moment, which a notebook or a test may replace."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def log_to_console(level: int = logging.INFO) -> None:
    """Shows the library's lines on standard output, unless the application handles them itself.

    Args:
        level: lowest level that is shown; ``logging.WARNING`` for ``--quiet``, ``logging.DEBUG``
            for ``-v``.
    """
    logger = logging.getLogger("reweight")
    logger.setLevel(level)
    if not any(isinstance(handler, _Standard) for handler in logger.handlers):
        handler = _Standard()
        handler.setFormatter(_Lines("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def is_interactive() -> bool:
    """Whether progress can be drawn: in a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def progress_bar(total: int, doing: str, unit: str) -> Any:
    """A bar in a terminal or a notebook; elsewhere one that draws nothing.

    Args:
        total: steps of the work.
        doing: what is done, in a word or two.
        unit: of a step.

    Returns:
        A ``tqdm`` bar: ``update(n)``, ``set_postfix_str(text)``, ``close()``.
    """
    from tqdm.auto import tqdm

    return tqdm(
        total=total, desc=f"  {doing}", unit=unit, disable=not is_interactive(), leave=False
    )
