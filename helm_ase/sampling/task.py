"""The structures of one starting point; runs in a worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from numpy.typing import NDArray

from helm_ase.representation.connectivity import fragments
from helm_ase.sampling.conformers import embed
from helm_ase.sampling.dimers import join
from helm_ase.sampling.displacement import NormalModes, normal_modes
from helm_ase.sampling.dynamics import run_dynamics
from helm_ase.sampling.filters import find_fault
from helm_ase.sampling.molecules import Molecule
from helm_ase.sampling.placement import place
from helm_ase.sampling.relaxation import check_finite, relax, xtb_calculator
from helm_ase.sampling.seeds import derive_seed, generator
from helm_ase.sampling.settings import SamplingSettings
from helm_ase.sampling.states import State, Vertical, vertical_states

DECIMALS = 8
"""Decimals of positions in Å: as many as extended XYZ keeps, so that file and memory agree."""
FAILURES = (CalculationFailed, RuntimeError, FloatingPointError, np.linalg.LinAlgError)
"""What xTB, RDKit and linear algebra raise on hopeless geometries; one must not end a campaign."""


class Fault(Exception):
    """A geometry is not what it should be; the message is the reason."""


@dataclass(frozen=True)
class Task:
    """One conformer of a molecule, or one dimer if there is a partner."""

    molecule: Molecule
    partner: Molecule | None
    index: int
    """Number of the conformer or dimer."""
    settings: SamplingSettings

    @cached_property
    def subject(self) -> Molecule:
        """What is drawn: the molecule, or the dimer of both."""
        return self.molecule if self.partner is None else join(self.molecule, self.partner)

    @cached_property
    def seed(self) -> int:
        """Seed of the starting geometry."""
        kind = "conformer" if self.partner is None else "dimer"
        return derive_seed(self.settings.seed, self.subject.key, kind, self.index)


@dataclass(frozen=True)
class Drop:
    """A structure that did not make it."""

    smiles: str
    """Or a hash of the bond graph."""
    kind: str
    """``monomer``, ``dimer``, ``cluster`` or ``crystal``."""
    method: str
    """``start``, ``relaxed``, ``md``, ``normal-modes`` or ``distorted``."""
    temperature_K: float
    seed: int
    reason: str
    detail: str = ""


@dataclass
class Outcome:
    """What became of a task."""

    structures: list[Atoms] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)


def draw(task: Task) -> Outcome:
    """All structures of a task, and what was dropped on the way."""
    return _Drawing(task).run()


class _Drawing:
    """A task in progress."""

    def __init__(self, task: Task) -> None:
        self.task, self.settings, self.molecule = task, task.settings, task.subject
        self.outcome = Outcome()
        self.modes: NormalModes | None = None
        parts = int(fragments(self.molecule.bonds).max()) + 1
        self.kind = {1: "monomer", 2: "dimer"}.get(parts, "cluster")

    def run(self) -> Outcome:
        with self._recording("start", 0.0, self.task.seed):
            start = self._start()
            for temperature in self._temperatures():
                if temperature == 0:
                    self._keep(start, "relaxed", temperature, self.task.seed)
                elif self.settings.md_steps > 0:
                    self._draw_trajectory(start, temperature)
                if temperature > 0 or self.settings.statistics == "wigner":
                    self._draw_displacements(start, temperature)
        return self.outcome

    def _temperatures(self) -> list[float]:
        """All, or those drawn for this task; one for a dimer."""
        count = self.settings.draws if self.task.partner is None else 1
        if count is None:
            return list(self.settings.temperatures)
        random = generator(derive_seed(self.task.seed, "temperatures"))
        return sorted(map(float, random.choice(self.settings.temperatures, count, replace=False)))

    def _start(self) -> NDArray[np.float64]:
        if self.task.partner is None:
            return relaxed_geometry(self.molecule, self.task.seed, self.settings)
        one, two = (
            relaxed_geometry(m, derive_seed(self.task.seed, part), self.settings)
            for part, m in enumerate((self.task.molecule, self.task.partner))
        )
        random = generator(derive_seed(self.task.seed, "placement"))
        atoms = atoms_of(self.molecule, place(one, two, self.settings.contact, random))
        relax(atoms, self.settings.fmax, self.settings.dimer_relax_steps)
        self._check(atoms.positions)
        positions: NDArray[np.float64] = atoms.get_positions()
        return positions

    def _draw_trajectory(self, start: NDArray[np.float64], temperature: float) -> None:
        seed = derive_seed(self.task.seed, "md", temperature)
        with self._recording("md", temperature, seed):
            atoms = atoms_of(self.molecule, start)
            frames = run_dynamics(atoms, temperature, self.settings, generator(seed))
            for number, positions in enumerate(frames):
                with self._recording("md", temperature, seed):
                    frame = number if self.settings.frames > 1 else None
                    self._keep(positions, "md", temperature, seed, frame)

    def _draw_displacements(self, start: NDArray[np.float64], temperature: float) -> None:
        if not self.settings.displacements or self.kind != "monomer":
            return  # the soft modes between molecules are not harmonic
        with self._recording("normal-modes", temperature, self.task.seed):
            modes = self._normal_modes(start)
            for index in range(self.settings.displacements):
                seed = derive_seed(self.task.seed, "normal-modes", temperature, index)
                with self._recording("normal-modes", temperature, seed):
                    statistics = self.settings.statistics
                    positions, highest = modes.displace(temperature, statistics, generator(seed))
                    self._keep(positions, "normal-modes", temperature, seed, highest=highest)

    def _normal_modes(self, start: NDArray[np.float64]) -> NormalModes:
        """Computed once for all temperatures."""
        if self.modes is None:
            self.modes = normal_modes(atoms_of(self.molecule, start), self.settings.relax_steps)
            if self.modes is None:
                raise Fault("no minimum found")
            self._check(self.modes.positions)
        return self.modes

    def _keep(
        self,
        positions: NDArray[np.float64],
        method: str,
        temperature: float,
        seed: int,
        frame: int | None = None,
        highest: float = np.inf,
    ) -> None:
        """Take a geometry in, unless it is faulty or its energy (eV) above ``highest``."""
        self._check(positions)
        atoms = atoms_of(self.molecule, np.round(positions - positions.mean(axis=0), DECIMALS))
        check_finite(atoms)
        energy = float(atoms.get_potential_energy())
        if energy > highest:
            raise Fault("too anharmonic")
        atoms.calc = None
        atoms.info = {
            "name": f"{atoms.get_chemical_formula()}-{_tag(method, temperature, seed, frame)}",
            "smiles": self.molecule.smiles,
            "kind": self.kind,
            "method": method,
            "temperature_K": temperature,
            "seed": seed,
            "charge": self.molecule.charge,
            "multiplicity": self.molecule.multiplicity,
            "xtb_energy": energy,
        }
        self.outcome.structures.append(atoms)
        self.outcome.structures += vertical_copies(atoms, self.settings.vertical)

    def _check(self, positions: NDArray[np.float64]) -> None:
        fault = find_fault(self.molecule.numbers, positions, self.molecule.bonds)
        if fault:
            raise Fault(fault)

    @contextmanager
    def _recording(self, method: str, temperature: float, seed: int) -> Iterator[None]:
        """Turn a failure into a line of the list of the dropped."""
        try:
            yield
        except (Fault, *FAILURES) as error:
            known = isinstance(error, Fault)
            reason, detail = (str(error), "") if known else ("calculation failed", str(error).strip())
            name = self.molecule.identity
            self.outcome.drops.append(Drop(name, self.kind, method, temperature, seed, reason, detail))


def _tag(method: str, temperature: float, seed: int, frame: int | None) -> str:
    short = {"relaxed": "relaxed", "md": f"md{temperature:g}K", "normal-modes": f"nm{temperature:g}K"}
    return f"{short[method]}-{seed:016x}" + ("" if frame is None else f"-{frame}")


def vertical_copies(atoms: Atoms, kinds: tuple[Vertical, ...]) -> list[Atoms]:
    """The same geometry in other states; the energy of xTB was not theirs."""
    copies = []
    for kind, state in vertical_states(State(atoms.info["charge"], atoms.info["multiplicity"]), kinds):
        if int(atoms.numbers.sum()) - state.charge < state.multiplicity - 1:  # as of the hydrogen cation
            continue
        copy = atoms.copy()
        copy.info |= state._asdict() | {"name": f"{atoms.info['name']}-{kind}", "vertical": kind}
        del copy.info["xtb_energy"]
        copies.append(copy)
    return copies


def atoms_of(molecule: Molecule, positions: NDArray[np.float64]) -> Atoms:
    """Atoms at ``positions`` (Å) with a new calculator, which knows nothing of earlier geometries."""
    return Atoms(
        molecule.numbers, positions, calculator=xtb_calculator(molecule.charge, molecule.multiplicity)
    )


def relaxed_geometry(molecule: Molecule, seed: int, settings: SamplingSettings) -> NDArray[np.float64]:
    """GFN2-xTB minimum with the molecule's bonds, near its geometry or near a random conformer; Å, (N, 3).

    Raises
    ------
    Fault
        If there is none.
    CalculationFailed
        If xTB fails.
    """
    positions = molecule.positions if molecule.positions is not None else embed(molecule.smiles, seed)
    if positions is None:
        raise Fault("no conformer found")
    atoms = atoms_of(molecule, positions)
    converged = relax(atoms, settings.fmax, settings.relax_steps)
    fault = find_fault(molecule.numbers, atoms.positions, molecule.bonds)
    if fault:
        raise Fault(fault)
    if not converged:
        raise Fault(f"not relaxed within {settings.relax_steps} steps")
    relaxed: NDArray[np.float64] = atoms.get_positions()
    return relaxed
