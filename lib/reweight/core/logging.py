"""The library's log lines (logger ``reweight``) and progress bars."""

import logging
import sys
from typing import Any, TextIO

# Loggers whose lines are headings; the lines of other loggers are indented below them.
_HEADINGS = ("reweight.runner.job",)
_MARKS = {logging.WARNING: "warning: ", logging.ERROR: "error: ", logging.CRITICAL: "error: "}


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        indent = "" if record.name in _HEADINGS else "  "
        return indent + _MARKS.get(record.levelno, "") + super().format(record)


class _Standard(logging.StreamHandler[TextIO]):
    """Writes to the current standard output, which a notebook or a test may replace."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def log_to_console(level: int = logging.INFO) -> None:
    """Shows the library's log lines on standard output; for applications that set up no logging.

    Args:
        level: lowest level shown; ``logging.WARNING`` for ``--quiet``, ``logging.DEBUG`` for
            ``-v``.
    """
    logger = logging.getLogger("reweight")
    logger.setLevel(level)
    if not any(isinstance(handler, _Standard) for handler in logger.handlers):
        handler = _Standard()
        handler.setFormatter(_Lines("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def print_error(message: object) -> None:
    """Prints an error that ends a job, for its user."""
    print(f"\nerror: {message}", file=sys.stderr, flush=True)


def is_interactive() -> bool:
    """Whether a progress bar can be drawn: in a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def progress_bar(total: int, doing: str, unit: str) -> Any:
    """A progress bar in a terminal or a notebook; elsewhere one that draws nothing.

    Args:
        total: number of steps.
        doing: the work, in a word or two.
        unit: what a step is called.

    Returns:
        A ``tqdm`` bar: ``update(n)``, ``set_postfix_str(text)``, ``close()``.
    """
    from tqdm.auto import tqdm

    return tqdm(
        total=total, desc=f"  {doing}", unit=unit, disable=not is_interactive(), leave=False
    )
