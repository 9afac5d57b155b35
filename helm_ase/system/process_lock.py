"""A lock that does not outlive its process."""

import os
import threading
from types import TracebackType

_INSPECTION = threading.Lock()


class ProcessLock:
    """Re-entrant lock of the threads of one process, free again in a child that was forked while it was held.

    A fork copies the memory with the lock in it, but only the thread that forks.  If another thread held the
    lock at that moment, nobody in the child would ever release it, and what it guards may be half-written.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process = os.getpid()

    def __enter__(self) -> bool:
        """Wait for the lock.

        Returns
        -------
        Whether a thread that is not in this process was at work when it was forked, so that what the lock
        guards is to be made anew.
        """
        abandoned = self._process != os.getpid() and self._abandoned()
        self._lock.acquire()
        return abandoned

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _abandoned(self) -> bool:
        """Replace the lock if a thread of the parent held it; once in every child."""
        with _INSPECTION:
            if self._process == os.getpid():
                return False
            abandoned = not self._lock.acquire(blocking=False)
            if abandoned:
                self._lock = threading.RLock()
            else:
                self._lock.release()
            self._process = os.getpid()
            return abandoned
