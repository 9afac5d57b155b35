"""``helm-ase``: parse, call, print; one module for each family of commands."""

import argparse
import sys
from collections.abc import Sequence

from helm_ase import __version__
from helm_ase.cli import calibrate, data, embed, evaluate, label, models, report, run, sample, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (0, 1 after a message on standard error, 130 if interrupted)."""
    options = _parser().parse_args(arguments)
    from helm_ase.errors import HelmError

    try:
        options.command(options)
    except BrokenPipeError:  # whoever read what is printed has seen enough
        sys.stdout = None
        return 0
    except (HelmError, OSError) as error:
        print(f"helm-ase: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("helm-ase: interrupted", getattr(options, "after_interrupt", ""), file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="helm-ase", description="Energy, forces and the Kohn-Sham Hamiltonian of molecules with HELM."
    )
    parser.add_argument("--version", action="version", version=f"helm-ase {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for family in (run, report, models, sample, label, data, train, evaluate, calibrate, embed):
        family.add_commands(commands)
    return parser
