"""Terminal output: control characters from files are escaped, progress bars become lines in log files,
warnings of the package are shown without lines of source, and Matplotlib opens no windows."""

import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from helm_ase.errors import plain_text

if TYPE_CHECKING:
    from tqdm import tqdm

PROGRESS = re.compile(r"(\r|\x1b\[A)")
"""Control characters that progress bars need."""

MINUTE = 60.0
"""Seconds between two lines of progress in a log file."""


class PlainStream:
    """Stream that escapes control characters, except for those of progress bars where they are allowed."""

    def __init__(self, stream: Any, progress: bool) -> None:
        self._stream, self._progress = stream, progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text; the number of letters is that of the text given."""
        parts = PROGRESS.split(text) if self._progress else [text]
        self._stream.write(
            "".join(p if PROGRESS.fullmatch(p) and self._progress else plain_text(p) for p in parts)
        )
        return len(text)


class _Lines:
    """Standard error for a progress bar whose states stand below one another."""

    def write(self, text: str) -> int:
        """Write a state of the bar as a line of its own."""
        line = PROGRESS.sub("", text).strip()
        return sys.stderr.write(f"{line}\n" if line else "")

    def flush(self) -> None:
        """Write what is buffered."""
        sys.stderr.flush()


def progress_bar(iterable: Iterable[Any] | None = None, **settings: Any) -> "tqdm[Any]":
    """A progress bar on standard error, as tqdm's; where that is neither a terminal nor a notebook, a line a
    minute.

    Parameters
    ----------
    iterable
        What is gone through, if anything.
    **settings
        Of ``tqdm``: ``desc``, ``total``, ``unit``, ``disable`` and more.
    """
    from tqdm import tqdm

    if sys.stderr is None:
        settings["disable"] = True
    elif not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        settings |= {"file": _Lines(), "mininterval": MINUTE, "maxinterval": MINUTE, "ascii": True}
    return tqdm(iterable, **settings)


@contextmanager
def plain_streams(progress_on_output: bool = False) -> Iterator[None]:
    """Context in which control characters are escaped on standard output and, except for progress bars,
    error.

    Parameters
    ----------
    progress_on_output
        Whether bars are also drawn on standard output.
    """
    before = sys.stdout, sys.stderr
    streams: tuple[Any, Any] = PlainStream(sys.stdout, progress_on_output), PlainStream(sys.stderr, True)
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        if isinstance(sys.stdout, PlainStream):
            sys.stdout = before[0]
        sys.stderr = before[1]


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Context in which a warning of the package is one line of text, without file name and line of source."""
    before = warnings.formatwarning

    def form(message: Any, category: type[Warning], *where: Any, **more: Any) -> str:
        if category.__module__.startswith("helm_ase."):
            return f"helm-ase: warning: {message}\n"
        return before(message, category, *where, **more)

    warnings.formatwarning = form
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextmanager
def files_only() -> Iterator[None]:
    """Context that hides the variable MPLBACKEND from Matplotlib, whose import fails if its value is
    wrong."""
    before = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ["MPLBACKEND"] = before
