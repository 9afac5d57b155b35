"""Child process that computes one label at a time and is killed if it exceeds limits of time or memory.

Parent and child exchange pickles over pipes: both are this package, on one machine, started by one user.
"""

import math
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

import psutil

from helm_ase.errors import SettingError
from helm_ase.labelling.journal import Label
from helm_ase.labelling.stores import AnyLabelSettings
from helm_ase.labelling.structures import AnyStructure

LENGTH = struct.Struct("<Q")
STALLED, STALL = 20.0, 60.0
"""Times the limit and s on the clock after which a child that uses no processor time is given up."""
POLL = 0.2
"""Seconds between looks at the child's memory."""


@dataclass(frozen=True)
class Limits:
    """Limits of time and memory for one molecule."""

    seconds: float = 3600.0
    """Largest processor time per thread, s.  It is not wall-clock time, so that other load on a node does not
    matter."""
    memory: float = 8e9
    """Bytes of resident memory."""
    threads: int = 1

    def __post_init__(self) -> None:
        finite = math.isfinite(self.seconds) and math.isfinite(self.memory)
        if not finite or self.seconds <= 0 or self.memory <= 0 or self.threads < 1:
            raise SettingError(f"limits must be positive, not {self}")


@dataclass(frozen=True)
class Outcome:
    """Label, or why there is none."""

    key: str
    name: str
    seconds: float
    label: Label | None = None
    reason: str = ""
    lost: bool = False
    """Whether not the calculation but its worker failed; the next campaign tries it again."""


class Sandbox:
    """Starts its child with the first task and again after each kill."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def label(self, structure: AnyStructure, settings: AnyLabelSettings, model: str | None) -> Outcome:
        """Label one structure; never raises for what the calculation does.

        A child that dies without having exceeded a limit gets a second chance: the machine may have had no
        memory left for reasons that lie elsewhere.
        """
        begin = time.monotonic()
        label, reason = self._attempt((structure, settings, model))
        if label is None and reason.startswith(DIED):
            label, reason = self._attempt((structure, settings, model))
        return Outcome(structure.key, structure.name, time.monotonic() - begin, label, reason)

    def _attempt(self, task: Any) -> tuple[Label | None, str]:
        child = self._start()
        with Warden(child, self.limits) as warden:
            try:
                send(child.stdin, task)
                label, reason = receive(child.stdout)
                return label, reason
            except (OSError, EOFError, ValueError, pickle.UnpicklingError):
                code = self.close()
        return None, warden.verdict or f"{DIED} (exit code {code}), perhaps for lack of memory"

    def _start(self) -> "subprocess.Popen[bytes]":
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._folder = tempfile.TemporaryDirectory(prefix="helm-ase-", ignore_cleanup_errors=True)
            self._child = subprocess.Popen(
                [sys.executable, "-m", "helm_ase.labelling.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment(self._folder.name),
            )  # fmt: skip
        return self._child

    def _environment(self, folder: str) -> dict[str, str]:
        threads = str(self.limits.threads)
        return os.environ | {
            "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYSCF_TMPDIR": folder,  # holds the scratch files of a killed PySCF
            "PYSCF_MAX_MEMORY": str(max(int(0.7 * self.limits.memory / 1e6), 100)),  # then it uses the disk
        }  # fmt: skip

    def close(self) -> int | None:
        """Kill the child and return its exit code."""
        child, self._child = self._child, None
        folder, self._folder = self._folder, None
        code = None
        if child is not None:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(OSError):  # unsent data of a killed child are of no use
                        pipe.close()
            code = child.wait()
        if folder is not None:
            folder.cleanup()
        return code


DIED = "the worker process died"


class Warden(threading.Thread):
    """Kills a child that exceeds a limit, whatever parent and child are doing at that moment."""

    def __init__(self, child: "subprocess.Popen[bytes]", limits: Limits) -> None:
        super().__init__(daemon=True)
        self.child, self.limits = child, limits
        self.verdict = ""
        self._over = threading.Event()

    def __enter__(self) -> "Warden":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look at processor time and memory until the task is over."""
        allowed = self.limits.seconds * self.limits.threads
        used, last = (
            _processor_seconds(self.child.pid),
            time.monotonic() + STALLED * self.limits.seconds + STALL,
        )
        while not self._over.wait(min(POLL, self.limits.seconds)):
            if _processor_seconds(self.child.pid) - used > allowed:
                self.verdict = f"time limit of {self.limits.seconds:g} s exceeded"
            elif time.monotonic() > last:
                self.verdict = f"no result in {STALLED:g} times the time limit of {self.limits.seconds:g} s"
            elif _resident(self.child.pid) > self.limits.memory:
                self.verdict = f"memory limit of {self.limits.memory / 1e9:g} GB exceeded"
            if self.verdict:
                self.child.kill()
                return


def _processor_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    except psutil.Error:  # it is gone; the pipe will say so
        return 0.0


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it is gone; the pipe will say so
        return 0


def send(pipe: IO[bytes] | None, message: Any) -> None:
    """Write one message."""
    assert pipe is not None
    payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(LENGTH.pack(len(payload)) + payload)
    pipe.flush()


def receive(pipe: IO[bytes] | None) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        If the other side is gone.
    """
    assert pipe is not None
    head = pipe.read(LENGTH.size)
    payload = pipe.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""
    if len(head) < LENGTH.size or len(payload) < LENGTH.unpack(head)[0]:
        raise EOFError("the other side of the pipe is gone")
    return pickle.loads(payload)


_SANDBOXES: dict[tuple[str, int], Sandbox] = {}
"""Campaign and thread → sandbox, in the process of a Dask worker."""


def label_in_sandbox(
    campaign: str, structure: AnyStructure, settings: AnyLabelSettings, limits: Limits, model: str | None
) -> Outcome:
    """Run one task in the sandbox of the calling thread; what a Dask worker executes."""
    sandbox = _SANDBOXES.setdefault((campaign, threading.get_ident()), Sandbox(limits))
    return sandbox.label(structure, settings, model)


def close_sandboxes(campaign: str) -> None:
    """Stop the children of one campaign in this process; other campaigns may share the workers."""
    for place in [place for place in _SANDBOXES if place[0] == campaign]:
        _SANDBOXES.pop(place).close()
