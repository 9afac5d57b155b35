"""A child process that computes one label at a time and may be killed for taking too long or too much.

Parent and child exchange pickles over pipes: both are this package, on one machine, started by one user.
"""

import os
import pickle
import select
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

import psutil

from helm_ase.errors import SettingError
from helm_ase.qc.labelling import LabelSettings
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.structure import Structure

LENGTH = struct.Struct("<Q")
POLL = 0.2
"""Seconds between looks at the child's memory."""


@dataclass(frozen=True)
class Limits:
    """What one molecule may cost."""

    seconds: float = 3600.0
    memory: float = 8e9
    """Bytes of resident memory."""
    threads: int = 1

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.memory <= 0 or self.threads < 1:
            raise SettingError(f"limits must be positive, not {self}")


@dataclass(frozen=True)
class Outcome:
    """Label, or why there is none."""

    key: str
    name: str
    seconds: float
    label: LabelledMolecule | None = None
    reason: str = ""


class Sandbox:
    """Starts its child with the first task and again after each kill."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._child: subprocess.Popen[bytes] | None = None

    def label(self, structure: Structure, settings: LabelSettings, model: str | None) -> Outcome:
        """Label one structure; never raises for what the calculation does."""
        begin = time.monotonic()
        child = self._start()
        try:
            send(child.stdin, (structure, settings, model))
            label, reason = self._wait(child, begin + self.limits.seconds)
        except (BrokenPipeError, EOFError, pickle.UnpicklingError):
            code = self.close()
            label, reason = None, f"the worker process died (exit code {code}), perhaps out of memory"
        return Outcome(structure.key, structure.name, time.monotonic() - begin, label, reason)

    def _start(self) -> "subprocess.Popen[bytes]":
        if self._child is None or self._child.poll() is not None:
            threads = str(self.limits.threads)
            environment = os.environ | {
                "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
                "OMP_WAIT_POLICY": "PASSIVE",
            }  # fmt: skip
            self._child = subprocess.Popen(
                [sys.executable, "-m", "helm_ase.labelling.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
            )  # fmt: skip
        return self._child

    def _wait(self, child: "subprocess.Popen[bytes]", deadline: float) -> tuple[LabelledMolecule | None, str]:
        assert child.stdout is not None
        process = psutil.Process(child.pid)
        while not select.select([child.stdout], [], [], POLL)[0]:
            if time.monotonic() > deadline:
                self.close()
                return None, f"time limit of {self.limits.seconds:g} s exceeded"
            if _resident(process) > self.limits.memory:
                self.close()
                return None, f"memory limit of {self.limits.memory / 1e9:g} GB exceeded"
        label, reason = receive(child.stdout)
        return label, reason

    def close(self) -> int | None:
        """Kill the child and return its exit code."""
        child, self._child = self._child, None
        if child is None:
            return None
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what was still to be sent is of no use to the dead
                    pipe.close()
        return child.wait()


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it is gone; the pipe will say so
        return 0


def send(pipe: IO[bytes] | None, message: Any) -> None:
    """Write one message."""
    assert pipe is not None
    payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(LENGTH.pack(len(payload)) + payload)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        If the other side is gone.
    """
    head = pipe.read(LENGTH.size)
    payload = pipe.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""
    if len(head) < LENGTH.size or len(payload) < LENGTH.unpack(head)[0]:
        raise EOFError("the other side of the pipe is gone")
    return pickle.loads(payload)


_SANDBOXES: dict[int, Sandbox] = {}
"""Thread → its sandbox, in the process of a Dask worker."""


def label_in_sandbox(
    structure: Structure, settings: LabelSettings, limits: Limits, model: str | None
) -> Outcome:
    """Run one task in the sandbox of the calling thread; what a Dask worker executes."""
    thread = threading.get_ident()
    sandbox = _SANDBOXES.get(thread)
    if sandbox is None or sandbox.limits != limits:
        if sandbox is not None:
            sandbox.close()
        _SANDBOXES[thread] = sandbox = Sandbox(limits)
    return sandbox.label(structure, settings, model)


def close_sandboxes() -> None:
    """Stop all children of this process."""
    while _SANDBOXES:
        _SANDBOXES.popitem()[1].close()
