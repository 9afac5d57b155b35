"""SIGTERM as an exception, so that files are closed and locks released before the process ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """The process was asked to end (SIGTERM), by a batch system for example."""


@contextmanager
def termination_raises() -> Iterator[None]:
    """Context in which the first SIGTERM raises :class:`Terminated`, as Ctrl-C raises KeyboardInterrupt.

    Later ones are ignored.  This has an effect only in the main thread, and only if no other handler is
    set.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, _ignore)
    raise Terminated


def _ignore(number: int, frame: FrameType | None) -> None:
    """Handler that does nothing; unlike SIG_IGN, it is not inherited by child processes."""
