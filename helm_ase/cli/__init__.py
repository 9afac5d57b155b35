"""Command line ``helm-ase``; each group of commands has a module that defines its options and runs it."""

import argparse
import io
import sys
from collections.abc import Sequence
from typing import NoReturn

from helm_ase import __version__
from helm_ase.cli import (
    bands,
    calibrate,
    data,
    embed,
    evaluate,
    label,
    models,
    report,
    run,
    sample,
    select,
    train,
)

DESCRIPTION = """Predict energies, forces and Kohn-Sham Hamiltonians of molecules and crystals with HELM, a
neural network trained on density-functional theory (DFT), and make, inspect and use the data that such
networks are trained on."""
EPILOG = """A label is the result of a DFT calculation for one geometry (energy, forces, Hamiltonian); a
label file holds many of them.  A checkpoint is a file with a trained network; wherever one is asked for, give
a name from 'helm-ase models', a path, or a URL ending in #sha256=CHECKSUM.  H0 is the baseline Hamiltonian, a
cheap estimate to which the network adds a correction.  'helm-ase COMMAND --help' explains the options of a
command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 1 after an error message, 130 after Ctrl-C, 143 after
    SIGTERM."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Å or ½ shows ?
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    from helm_ase.system.terminal import files_only, plain_streams, plain_warnings
    from helm_ase.system.termination import Terminated, termination_raises

    try:
        bars = options.command.__module__.endswith(".train")  # Lightning draws them on standard output
        with termination_raises(), plain_streams(bars), plain_warnings(), files_only():
            return _run(options)
    except (KeyboardInterrupt, Terminated) as error:
        terminated = isinstance(error, Terminated)
        words = "terminated" if terminated else "interrupted"
        print(f"helm-ase: {words}", getattr(options, "after_interrupt", ""), file=sys.stderr, flush=True)
        return 143 if terminated else 130


def _run(options: argparse.Namespace) -> int:
    from helm_ase.errors import LONGEST, HelmError, plain_text

    try:
        if any("\0" in text for text in _texts(options)):
            raise HelmError("an argument holds a NUL character, which no file name can have: leave it out")
        options.command(options)
    except BrokenPipeError:  # the reader of a pipe has closed it, as head does
        sys.stdout = None
        return 0
    except (HelmError, OSError) as error:
        print(f"helm-ase: {plain_text(str(error), LONGEST)}", file=sys.stderr)
        return 1
    except MemoryError:
        print("helm-ase: there is not enough memory for this", file=sys.stderr)
        return 1
    return 0


class _Parser(argparse.ArgumentParser):
    """Parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        """End with a message and exit code 2, as argparse does."""
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message[:600])
        self.exit(2, f"{self.prog}: {text} (see {self.prog} --help)\n")


def _texts(options: argparse.Namespace) -> list[str]:
    values = [x for v in vars(options).values() for x in (v if isinstance(v, list) else [v])]
    return [value for value in values if isinstance(value, str)]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="helm-ase",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"helm-ase {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for family in (
        run, bands, report, models, sample, select, label, data, train, evaluate, calibrate, embed,
    ):  # fmt: skip
        family.add_commands(commands)
    return parser
