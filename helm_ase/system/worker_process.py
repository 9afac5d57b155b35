"""Worker processes that end with their parent process and ignore interrupts, which the parent handles."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_EVERY = 1.0
"""Seconds between two checks whether the parent process still runs."""


def die_with_parent() -> None:
    """End this process, even in the middle of a calculation, as soon as the process that started this one is
    gone.

    Otherwise workers would continue after their parent was killed.
    """
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    os._exit(1)


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Make processes that are started in this context ignore Ctrl-C, so that their parent can stop them."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
