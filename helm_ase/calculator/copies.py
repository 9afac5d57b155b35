"""Copies and pickles of a calculator, and the lock that gives every thread its own answer."""

import copy
import weakref
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from helm_ase.errors import CheckpointError
from helm_ase.system.process_lock import ProcessLock

if TYPE_CHECKING:
    from ase import Atoms

    from helm_ase.checkpoint import Checkpoint

S = TypeVar("S", bound="Copies")
P = ParamSpec("P")
R = TypeVar("R")
CACHES = ("_electronic", "_network", "_crystal", "_lock")
"""Attributes that are not copied: a copy starts with empty caches and a lock of its own."""


def locked(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Make a method run in one thread at a time, so that it returns results for the atoms of its caller.

    In a process that was forked while another thread computed, results are made anew.
    """

    @wraps(method)
    def alone(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock as abandoned:
            if abandoned:
                self.reset()
            return method(self, *args, **kwargs)

    return alone


class Copies:
    """Copying, pickling and locking of :class:`~helm_ase.HELMCalculator`."""

    if TYPE_CHECKING:  # of the calculator
        _lock: ProcessLock
        _attached: weakref.ref[Atoms] | None
        parameters: Mapping[str, Any]

        def reset(self) -> None:
            """Forget all results."""

        def _load(self, parameters: Mapping[str, Any]) -> None: ...
        @property
        def checkpoint(self) -> Checkpoint:
            """The loaded checkpoint."""

    def _fresh(self) -> dict[str, Any]:
        return dict.fromkeys(CACHES) | {"_lock": ProcessLock()}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Copies":
        """Copy settings and results; the weights are shared, as nothing changes them."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        attached = None if self._attached is None else memo.get(id(self._attached()))
        follows = None if attached is None else weakref.ref(attached)
        with self._lock:
            shared = {"_loaded": self.__dict__["_loaded"], "_attached": follows} | self._fresh()
            for key, value in self.__dict__.items():
                twin.__dict__[key] = shared[key] if key in shared else copy.deepcopy(value, memo)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """State without weights and caches; unpickling loads the model again from its name, path or URL."""
        with self._lock:
            attached = None if self._attached is None else self._attached()
            state = self.__dict__ | {"_loaded": None, "_attached": attached} | dict.fromkeys(CACHES)
            mutable = {key: copy.deepcopy(state[key]) for key in ("parameters", "results", "extra_results")}
            state |= mutable  # copy.copy calls this, too: copies must not share mutable values
            return state | {"model_sha256": self.checkpoint.sha256}

    def __setstate__(self, state: dict[str, Any]) -> None:
        attached, sha256 = state["_attached"], state.pop("model_sha256")
        attached = None if attached is None else weakref.ref(attached)
        self.__dict__.update(state | {"_attached": attached} | self._fresh())
        self._load(self.parameters)
        if self.checkpoint.sha256 != sha256:
            raise CheckpointError(
                f"this calculator was pickled with model {sha256[:12]}…, but its keywords now lead to "
                f"{self.checkpoint.name!r} ({self.checkpoint.sha256[:12]}…)"
            )
