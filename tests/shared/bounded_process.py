"""A process with little memory and time in which hostile input is met; what it answers, and how it ended.

Readers are C below Python: a crash, an endless loop or a file that unfolds to gigabytes is one failed case.
"""

import contextlib
import importlib
import io
import multiprocessing
import os
import resource
import signal
from typing import NamedTuple

MEMORY = 2 * 2**30
"""Bytes beyond what the package needs once it is imported."""
SECONDS = 10.0
"""Of processor time for each case."""
PATIENCE = 150.0
"""Seconds on the clock after which a case hangs, for instance because it waits for something."""
LONGEST = 2000
"""Letters of a message."""


class Outcome(NamedTuple):
    """How a case ended."""

    kind: str
    """``answer``, ``refused`` (an error of ours), ``raw`` (another error), ``died`` or ``late``."""
    text: str
    value: object = None


def refused_in_words(outcome: Outcome) -> str:
    """The message of a refusal, which must be one: ours, short, printable, and not an accident of memory."""
    assert outcome.kind == "refused", outcome
    return readable(outcome.text)


def readable(text: str) -> str:
    """A message that may be shown to a user."""
    assert len(text) <= LONGEST, len(text)
    assert all(c.isprintable() or c in "\n\t" for c in text), repr(text)
    assert "MemoryError" not in text
    assert "Traceback" not in text
    return text


# --- what is done in the process --------------------------------------------------------------------


def whole_labels(path):
    """All labels of a file."""
    from helm_ase.labels.formats import open_labels

    with open_labels(path) as source:
        return list(source)


def read_labels(path, format=None, **options):
    """Labels of a file: how many, and the first one's numbers."""
    from helm_ase.labels.formats import open_labels

    with open_labels(path, format, **options) as source:
        labels = list(source)
    return len(labels), [label.numbers.tolist() for label in labels]


def read_hamiltonian(path, kind):
    """Shape of a Hamiltonian that another program's files hold."""
    if kind == "deeph":
        from helm_ase.labels.deeph import read_deeph

        return read_deeph(path).hamiltonian.values.shape
    from helm_ase.labels.wannier90 import read_wannier90

    return read_wannier90(path).values.shape


def load_checkpoint(path):
    from helm_ase.checkpoint import load_model

    return load_model(path).name


def read_frames(path, pbc=None):
    from helm_ase.representation.structure_files import read_frames

    frames = read_frames(path, pbc=pbc)
    return [(str(a.symbols), a.positions.tolist(), dict(a.info)) for a in frames]


def read_recipe(path, overrides=()):
    from helm_ase.training.configuration import read_recipe

    return repr(read_recipe(path, overrides))[:200]


def command(arguments, folder, environment=None, largest_file=None):
    """Exit code, output and errors of ``helm-ase``, where files may not grow beyond so many bytes."""
    from helm_ase.cli import main

    before, here = dict(os.environ), os.getcwd()
    os.environ.update(environment or {})
    os.chdir(folder)
    out, err = io.StringIO(), io.StringIO()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, limits[1]))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main([str(a) for a in arguments])
            except SystemExit as ended:
                code = ended.code
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
    return code, out.getvalue(), err.getvalue()


# --- the process ------------------------------------------------------------------------------------


def serve(pipe):
    for name in ("labels.formats", "checkpoint", "training.configuration", "calculator.helm", "cli.label"):
        importlib.import_module(f"helm_ase.{name}")
    from helm_ase.labels.formats import readers

    readers()
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    pipe.send(Outcome("answer", "ready"))
    while True:
        name, arguments, options = pipe.recv()
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)  # kills
        outcome = attempt(name, arguments, options)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        pipe.send(outcome)


def attempt(name, arguments, options):
    from helm_ase.errors import HelmError

    try:
        return Outcome("answer", "", globals()[name](*arguments, **options))
    except (HelmError, FileNotFoundError) as error:
        return Outcome("refused", str(error))
    except BaseException as error:
        return Outcome("raw", f"{type(error).__name__}: {error!s:.500}")


class BoundedProcess:
    """Answers questions; begun anew when one was its death."""

    def __init__(self):
        self.process = None

    def start(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other,), daemon=True)
        self.process.start()
        other.close()
        assert self.pipe.poll(600), "the process does not start"
        self.pipe.recv()

    def ask(self, name, *arguments, **options) -> Outcome:
        """Call one of the functions above."""
        if self.process is None:
            self.start()
        try:
            self.pipe.send((name, arguments, options))
            if self.pipe.poll(PATIENCE):
                return self.pipe.recv()
            outcome = Outcome("late", f"no answer in {PATIENCE} s")
        except (EOFError, OSError):
            self.process.join(10)
            outcome = Outcome("died", f"exit code {self.process.exitcode} (-26: after {SECONDS} s)")
        self.stop()
        return outcome

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None
