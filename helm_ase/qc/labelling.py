"""One structure → one label, with PySCF."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyscf
import scipy.linalg
from numpy.typing import NDArray

from helm_ase.errors import SCFError, SettingError
from helm_ase.qc.convergence import Guess, converge
from helm_ase.qc.level import LevelOfTheory
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.response import coupled_polarizability
from helm_ase.qc.two_grids import FineAnswer, solve, suits_two_grids
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.structure import Structure
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

TWO_GRIDS = "two grids"
"""Name of the route that is tried first; the others are those of :func:`helm_ase.qc.convergence.converge`."""


@dataclass(frozen=True)
class LabelSettings:
    """What a label is made of."""

    level: LevelOfTheory = field(default_factory=LevelOfTheory)
    forces: bool = True
    density: bool = False
    """Keep the density matrix; it doubles the file."""
    polarizability: bool = False
    """Coupled-perturbed Kohn–Sham; costs about as much as the SCF."""
    max_cycles: int = 60
    """SCF cycles of each attempt."""
    min_gap: float = 0.0
    """Hartree; a smaller HOMO–LUMO gap within one spin is a failure (several SCF solutions lie close by)."""
    tight: bool = False
    """Every cycle on the label's grid, with PySCF's own integration, as a plain script does it.  Otherwise
    labels are as good (H to 1 µEh on average, energies to 0.001 meV/atom, forces to 0.5 meV/Å) at a quarter
    of the cost."""

    def __post_init__(self) -> None:
        if self.max_cycles < 1:
            raise SettingError(f"max_cycles is {self.max_cycles}; it must be at least 1")


def label_structure(
    structure: Structure, settings: LabelSettings, guess: Guess | None = None
) -> LabelledMolecule:
    """Converge RKS (UKS for multiplicity > 1) and collect the answers.

    Parameters
    ----------
    structure
        What to label.
    settings
        Level of theory and wanted answers.
    guess
        Density to start from where PySCF's own guess fails.

    Raises
    ------
    SCFError
        If the SCF does not converge, the gap is too small, or the response equations fail.
    ChargeError, BasisError
        If the molecule cannot be set up.
    """
    begin = time.perf_counter(), time.process_time()
    mole = build_mole(
        structure.numbers, structure.positions, settings.level.basis, structure.charge, structure.multiplicity
    )
    solution = _solution(mole, settings, guess)
    mf, answer = solution.mean_field, solution.answer
    energies = _levels(answer.fock, mf.get_ovlp())
    gap = _gap(energies, mole.nelec)
    _check_gap(gap, settings.min_gap)
    gradient = answer.gradient
    if settings.forces and gradient is None:
        gradient = mf.nuc_grad_method().kernel()
    return LabelledMolecule(
        name=structure.name,
        numbers=structure.numbers,
        positions=structure.positions,
        charge=structure.charge,
        multiplicity=structure.multiplicity,
        hamiltonian=answer.fock,
        energy=answer.energy * HARTREE_IN_EV,
        forces=None if gradient is None else -gradient * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM,
        dipole=np.asarray(mf.dip_moment(unit="AU", verbose=0)),
        orbital_energies=energies,
        occupations=_occupations(mole.nelec, energies),
        density=np.asarray(mf.make_rdm1()) if settings.density else None,
        mulliken_charges=np.asarray(mf.mulliken_pop(verbose=0)[1]),
        polarizability=coupled_polarizability(mf) if settings.polarizability else None,
        smiles=structure.smiles,
        split=structure.split,
        details=dict(structure.details) | _details(solution, gap, begin),
    )


@dataclass(frozen=True)
class _Solution:
    mean_field: Any
    answer: FineAnswer
    """Its gradient may still be missing."""
    route: str
    cycles: int


def _solution(mole: Any, settings: LabelSettings, guess: Guess | None) -> _Solution:
    """Two grids unless the settings or the level forbid it, then what helps in hard cases."""
    cycles = 0
    if not settings.tight and suits_two_grids(mole, settings.level):
        quick = solve(mole, settings.level, settings.max_cycles, settings.forces)
        if quick.answer is not None:
            return _Solution(quick.mean_field, quick.answer, TWO_GRIDS, quick.cycles)
        cycles = quick.cycles
    converged = converge(mole, settings.level, settings.max_cycles, guess)
    mf = converged.mean_field
    fock = np.asarray(mf.get_fock(dm=mf.make_rdm1()))
    residual = float(np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ, fock)))
    answer = FineAnswer(float(mf.e_tot), fock, None, residual)
    return _Solution(mf, answer, converged.route, cycles + converged.cycles)


def _levels(fock: NDArray[np.float64], overlap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels of the matrix that is kept; PySCF's own belong to the cycle before."""
    if fock.ndim == 2:
        return np.asarray(scipy.linalg.eigh(fock, overlap, eigvals_only=True))
    return np.stack([scipy.linalg.eigh(f, overlap, eigvals_only=True) for f in fock])


def _occupations(electrons: tuple[int, int], energies: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = [(np.arange(energies.shape[-1]) < n).astype(np.float64) for n in electrons]
    return 2.0 * rows[0] if energies.ndim == 1 else np.stack(rows)


def _gap(energies: NDArray[np.float64], electrons: tuple[int, int]) -> float | None:
    """Smallest HOMO–LUMO gap within one spin.

    Across spins it means little: in a triplet the empty β level lies below the filled α ones.
    """
    rows = [energies] if energies.ndim == 1 else list(energies)
    gaps = [row[n] - row[n - 1] for row, n in zip(rows, electrons, strict=False) if 0 < n < len(row)]
    return float(min(gaps)) if gaps else None


def _check_gap(gap: float | None, least: float) -> None:
    if gap is not None and gap < least:
        raise SCFError(f"the HOMO–LUMO gap is {gap:.4f} Eh, below the limit of {least} Eh")


def _details(solution: _Solution, gap: float | None, begin: tuple[float, float]) -> dict[str, Any]:
    mf = solution.mean_field
    details: dict[str, Any] = {
        "cycles": solution.cycles,
        "route": solution.route,
        "orbital_gradient": solution.answer.residual,
        "gap_hartree": gap,
        "wall_s": round(time.perf_counter() - begin[0], 3),
        "cpu_s": round(time.process_time() - begin[1], 3),
        "pyscf": pyscf.__version__,
    }
    if np.asarray(mf.mo_energy).ndim == 2:
        details["spin_square"] = float(mf.spin_square()[0])
    return details
