"""Sampling campaign: tasks are distributed over processes, with results that do not depend on their
number."""

import multiprocessing
import os
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ase import Atoms

from helm_ase.errors import SettingError
from helm_ase.sampling.dimers import choose_pairs, join, partner_pairs, refused
from helm_ase.sampling.filters import Register
from helm_ase.sampling.molecules import Molecule, distinct
from helm_ase.sampling.optional import require
from helm_ase.sampling.settings import SamplingSettings
from helm_ase.sampling.task import Drop, Outcome, Task, draw
from helm_ase.system.terminal import progress_bar
from helm_ase.system.worker_process import die_with_parent

if TYPE_CHECKING:
    from tqdm import tqdm


@dataclass(frozen=True)
class SamplingResult:
    """Result of a sampling campaign."""

    structures: list[Atoms]
    """With name, smiles, kind, method, temperature_K, seed, charge, multiplicity, xtb_energy in ``info``."""
    drops: list[Drop]
    """What was dropped, and why."""
    molecules: int
    """Starting points."""


def sample(
    molecules: Sequence[Molecule], settings: SamplingSettings, processes: int = 1, progress: bool = False
) -> SamplingResult:
    """Draw structures of ``molecules``.

    Every draw has its own seed, derived from ``settings.seed`` and the molecule, so that neither the order of
    the molecules nor the number of processes matters.  Structures are in a random but reproducible order, so
    that the first n of them are a random sample of all.

    Parameters
    ----------
    molecules
        From :func:`~helm_ase.sampling.molecules.read_molecules`.
    settings
        What to draw.
    processes
        1: in this process.  More: in new ones with one thread each; a script that asks for them needs
        ``if __name__ == "__main__":``.
    progress
        Show a bar on standard error.

    Raises
    ------
    SettingError
        If RDKit or tblite is missing, or ``processes`` is below 1.
    """
    require("rdkit", "tblite")
    if processes < 1:
        raise SettingError(f"processes is {processes}; it must be at least 1")
    molecules = distinct(molecules)
    tasks = _tasks(molecules, settings)
    unpaired = dict.fromkeys(
        (join(*pair).identity, why) for pair in partner_pairs(molecules, settings) if (why := refused(*pair))
    )
    drops = [Drop(name, "dimer", "start", 0.0, settings.seed, why) for name, why in unpaired]
    result = SamplingResult([], drops, len(molecules))
    outcomes = _outcomes(tasks, min(processes, len(tasks)))
    with (
        closing(outcomes),
        progress_bar(total=len(tasks), unit="task", desc="sample", disable=not progress) as bar,
    ):
        _collect(outcomes, settings, result, bar)
    return result


def _collect(
    outcomes: Iterable[Outcome], settings: SamplingSettings, result: SamplingResult, bar: "tqdm"
) -> None:
    """Fill ``result`` with what is new, up to the limit."""
    register = Register(settings.duplicate_tolerance)
    limit = settings.limit or float("inf")
    for outcome in outcomes:
        bar.update()
        result.drops.extend(outcome.drops)
        for atoms in outcome.structures:
            if len(result.structures) >= limit:
                return
            _admit(atoms, register, result)
        if len(result.structures) >= limit:
            return


def _tasks(molecules: Sequence[Molecule], settings: SamplingSettings) -> list[Task]:
    tasks = [
        Task(molecule, None, index, settings)
        for molecule in molecules
        for index in range(settings.conformers if molecule.positions is None else 1)
    ]
    pairs = choose_pairs(molecules, settings)
    tasks += [Task(first, second, index, settings) for index, (first, second) in enumerate(pairs)]
    return sorted(tasks, key=lambda task: task.seed)


def _admit(atoms: Atoms, register: Register, result: SamplingResult) -> None:
    reason = register.add(atoms)
    if reason is None:
        result.structures.append(atoms)
        return
    info = atoms.info
    temperature, detail = info["temperature_K"], info["name"]
    drop = Drop(info["smiles"], info["kind"], info["method"], temperature, info["seed"], reason, detail)
    result.drops.append(drop)


def _outcomes(tasks: Sequence[Task], processes: int) -> Generator[Outcome, None, None]:
    """Outcomes in the order of the tasks; closing the generator stops the workers."""
    if processes <= 1:
        yield from map(draw, tasks)
        return
    done = 0
    while done < len(tasks):
        try:
            for outcome in _draw_all(tasks[done:], processes):
                yield outcome
                done += 1
        except BrokenProcessPool:  # some task at work has killed its process: try the first of them alone
            yield _draw_alone(tasks[done])
            done += 1


def _draw_all(tasks: Sequence[Task], processes: int) -> Generator[Outcome, None, None]:
    executor = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
    )
    try:
        yield from executor.map(draw, tasks)
    finally:
        executor.shutdown(cancel_futures=True)


def _draw_alone(task: Task) -> Outcome:
    try:
        (outcome,) = _draw_all([task], 1)
    except BrokenProcessPool:
        kind = "monomer" if task.partner is None else "dimer"
        drop = Drop(task.subject.smiles, kind, "start", 0.0, task.seed, "worker process died")
        return Outcome(drops=[drop])
    return outcome


def _begin_worker() -> None:
    """In a new worker, before tblite is loaded: for small molecules more threads would only spin."""
    die_with_parent()
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
