"""What every worker process of the package owes its parent."""

import os
import threading
import time

LOOK_EVERY = 1.0
"""Seconds."""


def die_with_parent() -> None:
    """Leave, even in the middle of a calculation, as soon as the process that started this one is gone.

    Otherwise workers would go on for nobody after their parent was killed.
    """
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    os._exit(1)
