"""``helm-ase run --all-frames``: every frame of a file to a table and, if asked, a file with forces."""

import argparse
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.io.formats import parse_filename

from helm_ase.errors import PredictionError, SettingError
from helm_ase.prediction.batch_engine import StructurePrediction
from helm_ase.prediction.dispersion import note_dispersion
from helm_ase.prediction.many import predict_many
from helm_ase.prediction.verdict import Trust
from helm_ase.representation.charge_state import give_state
from helm_ase.representation.structure_files import choose, stream_frames
from helm_ase.system.atomic_write import whole_file

SUFFIXES = (".xyz", ".extxyz")
ONE_FRAME_ONLY = (
    "opt", "md", "keep_velocities", "levels", "bands", "dos", "trajectory", "vibrations", "spectrum",
    "refine", "kpts", "smearing",
)  # fmt: skip
"""Options that make no sense for all frames."""


def run_frames(options: argparse.Namespace) -> None:
    """Energies and forces of all frames of a file, in the order of the file.

    Raises
    ------
    SettingError
        If an option makes no sense for all frames, or the output could not be written.
    StructureError
        If ASE cannot read the file, or there is nothing in it.
    PredictionError
        If no frame could be computed.
    """
    check_frame_options(options)
    waiting: deque[Atoms] = deque()
    answers = predict_many(
        _frames(options, waiting), model=options.model, device=options.device, dtype=options.dtype,
        dispersion=options.dispersion, progress=True,
    )  # fmt: skip
    done = failed = 0
    with ExitStack() as files:
        output = None
        if options.output:
            place = files.enter_context(whole_file(options.output))
            output = files.enter_context(place.open("w", encoding="utf8"))
        for answer in answers:
            atoms = waiting.popleft()
            if not done + failed:
                print(f"{'frame':>6}  {'formula':<16} {'energy / eV':>16}  {'largest force / eV/Å':>20}")
            print(_line(atoms, answer))
            failed += answer.error is not None
            done += answer.error is None
            if output is not None and answer.error is None:
                write(output, _with_results(atoms, answer, options.dispersion), format="extxyz")
        if not done:
            reason = f"none of {failed} frames could be computed" if failed else "there is no frame"
            raise PredictionError(f"{options.file}: {reason}")
    print(f"\n{done} frames computed" + (f", {failed} not: see above" if failed else ""))
    if options.output:
        print(f"structures: {options.output}")


def check_frame_options(options: argparse.Namespace) -> None:
    """Refuse what makes no sense for all frames, before anything is computed.

    Raises
    ------
    SettingError
        Naming the option, and what goes instead.
    """
    for name in ONE_FRAME_ONLY:
        given = getattr(options, name)
        if given or (name == "smearing" and given is not None):  # 0 is a width
            option = name.replace("_", "-")
            raise SettingError(
                f"--{option} is for one structure: name a frame, as in FILE@0, not --all-frames"
            )
    if options.output and not options.output.endswith(SUFFIXES):
        raise SettingError(f"--all-frames writes {' or '.join(SUFFIXES)} files, not {options.output}")
    if options.output and not Path(options.output).resolve().parent.is_dir():
        raise SettingError(f"there is no folder {Path(options.output).parent} for {options.output}")


def _frames(options: argparse.Namespace, waiting: "deque[Atoms]") -> Iterator[Atoms]:
    """Frames of the file, which also wait in a queue until their answers come."""
    path = parse_filename(str(options.file))[0]
    for atoms in choose(str(options.file), stream_frames(path, options.pbc)):
        give_state(atoms, options.charge, options.multiplicity)
        waiting.append(atoms)
        yield atoms


def _line(atoms: Atoms, answer: StructurePrediction) -> str:
    start = f"{answer.index:>6}  {atoms.get_chemical_formula():<16}"
    if answer.error is not None:
        return f"{start} {answer.error}"
    assert answer.forces is not None
    assert answer.verdict is not None
    doubt = "" if answer.verdict.trust is Trust.TRUSTED else f"  {answer.verdict.trust}"
    return f"{start} {answer.energy:16.6f}  {np.linalg.norm(answer.forces, axis=1).max():20.4f}{doubt}"


def _with_results(atoms: Atoms, answer: StructurePrediction, dispersion: str | None) -> Atoms:
    note_dispersion(atoms, dispersion)
    atoms.calc = SinglePointCalculator(atoms, energy=answer.energy, forces=answer.forces)
    return atoms
