"""The child process of a sandbox: ``python -m helm_ase.labelling.worker``, tasks in, labels out."""

import os
import sys
from typing import Any

from helm_ase.labelling.sandbox import receive, send
from helm_ase.qc.crystal_labelling import label_crystal_structure
from helm_ase.qc.labelling import label_structure
from helm_ase.representation.structure import CrystalStructure
from helm_ase.system.worker_process import die_with_parent


def main() -> None:
    """Label what comes over standard input until it closes."""
    tasks = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of libraries must not mix with results
    die_with_parent()
    while True:
        try:
            structure, settings, model = receive(tasks)
        except EOFError:
            return
        answer = _attempt(structure, settings, model)
        try:
            send(answers, answer)
        except BrokenPipeError:  # the parent is gone; closing the pipe would raise again
            os._exit(1)


def _attempt(structure: Any, settings: Any, model: str | None) -> tuple[Any, str]:
    guess = None
    if model is not None and not isinstance(structure, CrystalStructure):
        from helm_ase.labelling.guess import density_guess

        guess = density_guess(structure, settings.level, model)
    try:
        if isinstance(structure, CrystalStructure):
            return label_crystal_structure(structure, settings), ""
        return label_structure(structure, settings, guess), ""
    except Exception as error:  # any failure of one structure is an entry in the list, not the end of the run
        return None, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
