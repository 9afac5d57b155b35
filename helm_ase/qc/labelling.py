"""Labelling of a molecule: its DFT calculation with PySCF."""

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyscf
import scipy.linalg
from numpy.typing import NDArray

from helm_ase.errors import SCFError, SettingError
from helm_ase.qc.convergence import Guess, converge
from helm_ase.qc.level import LevelOfTheory
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.response import coupled_polarizability
from helm_ase.qc.stability import follow_instability
from helm_ase.qc.two_grids import FineAnswer, solve, suits_two_grids
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.structure import Structure
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

SETTLED = 3e-4
"""Largest difference, e·a0, between the dipole of the orbitals of H and that of the SCF density.  The error
of the density is the orbital gradient divided by the gap, so that molecules of small gap need a smaller
gradient."""
TIGHT = 1e-7
"""Norm of the orbital gradient, Hartree, that is reached where the density was not settled."""
BROKEN_SYMMETRY = "broken symmetry"
"""Route of singlets whose lowest determinant has α and β orbitals that differ."""
TWO_GRIDS = "two grids"
"""Name of the route that is tried first; the others are those of :func:`helm_ase.qc.convergence.converge`."""


@dataclass(frozen=True)
class LabelSettings:
    """Settings of a label: level of theory, quantities, and limits of the SCF calculation."""

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
    stability_gap: float = 0.25
    """Hartree; singlets with a smaller gap are examined for stability, at the cost of some SCF cycles, and
    labelled with energy and forces of the broken-symmetry determinant where that is lower; 0: none is."""
    max_spin_contamination: float = 0.1
    """⟨S²⟩ of a radical may exceed S (S + 1) by so much; more is a failure."""
    tight: bool = False
    """Every cycle on the label's grid, with PySCF's own integration, as a plain script does it.  Otherwise
    labels are as good (H to 1 µEh on average, energies to 0.001 meV/atom, forces to 0.5 meV/Å) at a quarter
    of the cost."""

    def __post_init__(self) -> None:
        if self.max_cycles < 1:
            raise SettingError(f"max_cycles is {self.max_cycles}; it must be at least 1")
        if not (self.stability_gap >= 0 and self.max_spin_contamination >= 0):
            raise SettingError(
                f"stability_gap is {self.stability_gap}, max_spin_contamination "
                f"{self.max_spin_contamination}; both must be 0 or more"
            )


class _Clocks(NamedTuple):
    """Readings of both clocks, s."""

    wall: float
    cpu: float


def label_structure(
    structure: Structure, settings: LabelSettings, guess: Guess | None = None
) -> LabelledMolecule:
    """Converge RKS (UKS for multiplicity > 1) and collect the results.

    Parameters
    ----------
    structure
        What to label.
    settings
        Level of theory and quantities to compute.
    guess
        Density to start from where PySCF's own guess fails.

    Raises
    ------
    SCFError
        If the SCF does not converge, the gap is too small, a radical mixes with higher spins, or the response
        equations fail.
    ChargeError, BasisError
        If the molecule cannot be set up.
    """
    begin = _Clocks(time.perf_counter(), time.process_time())
    mole = build_mole(
        structure.numbers, structure.positions, settings.level.basis, structure.charge, structure.multiplicity
    )
    solution = _settled(_lowest(_solution(mole, settings, guess), settings), settings)
    mf, answer = solution.mean_field, solution.answer
    energies = _levels(answer.fock, mf.get_ovlp())
    gap = _gap(energies, mole.nelec)
    _check_gap(gap, settings.min_gap)
    _check_spin(mf, settings.max_spin_contamination)
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
    """Results; the nuclear gradient may be missing."""
    route: str
    cycles: int


def _solution(mole: Any, settings: LabelSettings, guess: Guess | None) -> _Solution:
    """Solve on two grids if settings and level allow it, otherwise by :func:`converge`."""
    cycles = 0
    if not settings.tight and suits_two_grids(mole, settings.level):
        quick = solve(mole, settings.level, settings.max_cycles, settings.forces)
        if quick.answer is not None:
            return _Solution(quick.mean_field, quick.answer, TWO_GRIDS, quick.cycles)
        cycles = quick.cycles
    convergence = converge(mole, settings.level, settings.max_cycles, guess)
    return _Solution(
        convergence.mean_field,
        _answer(convergence.mean_field),
        convergence.route,
        cycles + convergence.cycles,
    )


def _lowest(solution: _Solution, settings: LabelSettings) -> _Solution:
    """The solution, or what lies below it if it is an unstable closed shell of small gap."""
    mf = solution.mean_field
    if mf.mol.spin or np.ndim(mf.mo_energy) == 2 or not settings.stability_gap:
        return solution
    gap = _gap(_levels(solution.answer.fock, mf.get_ovlp()), mf.mol.nelec)
    if gap is None or gap >= settings.stability_gap:
        return solution
    lower = follow_instability(mf, settings.level, settings.max_cycles)
    if lower is None:
        return solution
    route = BROKEN_SYMMETRY if lower.broken else f"{solution.route}, descended"
    return _Solution(lower.mean_field, _answer(lower.mean_field), route, solution.cycles + lower.cycles)


def _answer(mf: Any) -> FineAnswer:
    """Read the answer off a mean field that PySCF has converged; the gradient is still missing."""
    fock = np.asarray(mf.get_fock(dm=mf.make_rdm1()))
    return FineAnswer(
        float(mf.e_tot), fock, None, float(np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ, fock)))
    )


def _settled(solution: _Solution, settings: LabelSettings) -> _Solution:
    """The solution, converged further where H's own orbitals have another density than the SCF stopped at.

    Raises
    ------
    SCFError
        If that does not help.
    """
    off = _unsettled(solution)
    if off < SETTLED:
        return solution
    mf = solution.mean_field
    mf.conv_tol, mf.conv_tol_grad = min(settings.level.conv_tol, 1e-9), TIGHT
    mf.max_cycle, mf.conv_check = settings.max_cycles, False
    mf.kernel(dm0=mf.make_rdm1())
    again = _Solution(mf, _answer(mf), f"{solution.route}, tightened", solution.cycles + int(mf.cycles))
    left = _unsettled(again) if mf.converged else off
    if left >= SETTLED:
        raise SCFError(
            f"the density does not settle: the dipole of the orbitals of H is {left:.2g} e·a0 off that of "
            "the SCF, as where the HOMO–LUMO gap is small or several solutions lie close by"
        )
    return again


def _unsettled(solution: _Solution) -> float:
    """Largest component of the difference of the two dipoles, e·a0."""
    mf, fock = solution.mean_field, np.asarray(solution.answer.fock)
    overlap = mf.get_ovlp()
    densities = np.asarray(mf.make_rdm1()).reshape(-1, *overlap.shape)
    change = -densities.sum(0)
    for f, n in zip(fock.reshape(-1, *overlap.shape), mf.mol.nelec, strict=False):
        filled = scipy.linalg.eigh(f, overlap)[1][:, :n]
        change += (2 if len(densities) == 1 else 1) * filled @ filled.T
    with mf.mol.with_common_orig((0.0, 0.0, 0.0)):
        return float(np.abs(np.einsum("xij,ij->x", mf.mol.intor_symmetric("int1e_r", comp=3), change)).max())


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


def _check_spin(mf: Any, most: float) -> None:
    """Refuse radicals with strong spin contamination; singlets of broken symmetry are exempt."""
    if np.ndim(mf.mo_energy) != 2 or not mf.mol.spin:
        return
    s = mf.mol.spin / 2
    measured, exact = float(mf.spin_square()[0]), s * (s + 1)
    if measured - exact > most:
        raise SCFError(
            f"<S^2> is {measured:.3f}, exact is {exact:.2f}: the determinant mixes with higher spins (limit "
            f"{most} above it)"
        )


def _details(solution: _Solution, gap: float | None, begin: _Clocks) -> dict[str, Any]:
    mf = solution.mean_field
    details: dict[str, Any] = {
        "cycles": solution.cycles,
        "route": solution.route,
        "orbital_gradient": solution.answer.residual,
        "gap_hartree": gap,
        "wall_s": round(time.perf_counter() - begin.wall, 3),
        "cpu_s": round(time.process_time() - begin.cpu, 3),
        "pyscf": pyscf.__version__,
    }
    if np.asarray(mf.mo_energy).ndim == 2:
        details["spin_square"] = float(mf.spin_square()[0])
    if solution.route.startswith(BROKEN_SYMMETRY):
        details["broken_symmetry"] = True
    return details
