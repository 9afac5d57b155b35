"""Quantities that are costly to compute from a label and therefore cached: H0, S and reference orbitals.

The matrices may be those of a smaller basis than the label's: that of a model whose observables, but not
whose matrices, are to be those of the label.
"""

import json
import struct
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from helm_ase.electronic.multipoles import electronic_dipole
from helm_ase.electronic.orbitals import Orbitals
from helm_ase.errors import BasisError, DatasetError, HelmError
from helm_ase.qc.baseline import baseline_of_spins
from helm_ase.qc.level import Baseline
from helm_ase.qc.molecule import basis_of, build_mole, cross_overlap, dipole_integrals, overlap
from helm_ase.qc.tight_binding import TightBinding
from helm_ase.representation import AOBasis, AOMatrix
from helm_ase.representation.energy_baseline import EnergyBaseline, EnergyBaselineResult
from helm_ase.representation.labelled import LabelledMolecule, pack_triangle, unpack_triangle
from helm_ase.representation.level import LevelOfTheory
from helm_ase.representation.overlap import OVERLAP_THRESHOLD, SCF_OVERLAP_THRESHOLD, drops_directions

VIRTUALS = 6
"""Number of virtual orbitals of the reference that are kept for losses on the spectrum."""
SHAPE = struct.Struct("<iiii")


@dataclass(frozen=True)
class LargeBasis:
    """Observables of the label in its own basis, where the model has a smaller one."""

    gap: float
    """Hartree."""
    dipole: NDArray[np.float64]
    """Dipole moment of the electrons about the origin, e·a0, (3,)."""
    polarizability: NDArray[np.float64]
    """Uncoupled, a0³, (3, 3)."""


@dataclass(frozen=True)
class Derived:
    """Matrices in canonical AO order; spin first in an open shell, as in the label.

    A functions are those of the model, also where the label has more.
    """

    baseline: NDArray[np.float64]
    """H0, Hartree, (A, A); of an open shell whose spins it tells apart (2, A, A)."""
    overlap: NDArray[np.float64]
    """S, (A, A)."""
    orbital_energies: NDArray[np.float64]
    """All orbital energies of the label's H, Hartree, (s, A), NaN at the end where nearly dependent functions
    were dropped; in a smaller basis those of ``orbitals``, (s, M)."""
    orbitals: NDArray[np.float32]
    """Its occupied and lowest virtual orbitals, (s, A, M); columns beyond a spin's own are zero.  In
    a smaller basis their projection on it."""
    electrons: tuple[int, ...]
    """Occupied orbitals of each spin, (s,)."""
    large: LargeBasis | None = None
    """Observables of a label in a larger basis."""
    energy_baseline: EnergyBaselineResult | None = None
    """E0, its gradient and charges, where there is one."""


@dataclass(frozen=True)
class DerivationSettings:
    """Settings, besides the label, on which derived quantities depend."""

    level: LevelOfTheory
    baseline: Baseline
    virtuals: int = VIRTUALS
    model_basis: str | None = None
    """Basis of the model where it is a smaller one than the label's."""
    energy_baseline: EnergyBaseline = field(default_factory=EnergyBaseline)
    """E0, which also gives charges and spin densities for H0."""
    matrices: bool = True
    """Whether H0, S and orbitals are wanted; otherwise there is only E0, and matrices have no elements."""

    @cached_property
    def tight_binding(self) -> TightBinding | None:
        """What computes E0."""
        if not self.energy_baseline:
            return None
        spins = self.baseline.spins and not self.energy_baseline.charge_parameters
        return TightBinding(self.energy_baseline, spins)

    @cached_property
    def charge_method(self) -> TightBinding | None:
        """What computes charges and spin densities for H0, if that is not the same."""
        if not self.energy_baseline.charge_parameters:
            return None
        return TightBinding(self.energy_baseline.for_charges, self.baseline.spins)

    @property
    def title(self) -> bytes:
        """Description of the contents in a cache file."""
        if not self.matrices:
            e0 = self.energy_baseline.signature if self.energy_baseline else None
            return json.dumps({"derived from": {"energy baseline": e0}, "matrices": False}).encode()
        level = asdict(self.level)
        facts = {k: level[k] for k in ("functional", "basis", "density_fitting", "auxiliary_basis")}
        facts |= {"baseline": self.baseline.signature, "virtuals": self.virtuals}
        if self.model_basis:
            facts |= {"model basis": self.model_basis}
        if self.energy_baseline:
            facts |= {"energy baseline": self.energy_baseline.signature}
        return json.dumps({"derived from": facts}).encode()

    @property
    def name(self) -> str:
        """Part of the name of the cache file."""
        return self.baseline.name if self.matrices else "energy"

    @property
    def subject(self) -> str:
        """Name of the quantities, for messages."""
        return "H0" if self.matrices else "E0"

    def holds(self, derived: Derived) -> bool:
        """Whether levels were solved without the directions that are dropped today.

        Earlier versions kept them; a cache of theirs serves for all other molecules.
        """
        if derived.large is not None or np.isnan(derived.orbital_energies[:, -1:]).all():
            return True
        return not drops_directions(torch.from_numpy(derived.overlap))

    def derive(self, label: LabelledMolecule, known: Derived | None = None) -> Derived:
        """See :func:`derive`."""
        return derive(label, self, known)

    def pack(self, derived: Derived) -> bytes:
        """Record → bytes."""
        return pack(derived, self.baseline.spins)

    def unpack(self, payload: bytes) -> Derived:
        """Bytes → record."""
        return unpack(payload, self.model_basis is not None, bool(self.energy_baseline), self.baseline.spins)


def derive(label: LabelledMolecule, settings: DerivationSettings, known: Derived | None = None) -> Derived:
    """Compute H0, S and the orbitals of the label's own H.

    ``known`` holds what does not depend on the label's matrix.

    Raises
    ------
    DatasetError, BasisError
        If the matrix does not fit the basis.
    """
    if not settings.matrices:
        return _derive_energy(label, settings, known)
    mole, basis = _molecule(label, settings.model_basis or settings.level.basis)
    if known is None:
        e0 = _energy_baseline(label, settings)
        s = overlap(mole, basis).values
        h0 = baseline_of_spins(mole, basis, settings.level, settings.baseline, e0)
        e0 = None if e0 is None else replace(e0, spin=None)  # of no use any more
    else:
        s, h0, e0 = known.overlap, known.baseline, known.energy_baseline
    if label.hamiltonian is None:
        return _without_orbitals(label, settings, mole, (h0, s), e0)
    if settings.model_basis:
        return replace(_derive_from_larger(label, settings, mole, basis, (h0, s)), energy_baseline=e0)
    solved = _solve(label, mole, basis, s, OVERLAP_THRESHOLD)
    kept = _lowest(solved, min(max(solved.occupied) + settings.virtuals, len(s)), settings.virtuals)
    levels = solved.orbital_energies.numpy()  # (s, M)
    dropped = len(s) - levels.shape[1]
    levels = np.pad(levels, ((0, 0), (0, dropped)), constant_values=np.nan)
    return Derived(h0, s, levels, kept, solved.occupied, energy_baseline=e0)


def _derive_energy(label: LabelledMolecule, settings: DerivationSettings, known: Derived | None) -> Derived:
    """E0 alone."""
    spins, nothing = label.spin_channels, np.zeros((0, 0))
    e0 = _energy_baseline(label, settings) if known is None else known.energy_baseline
    e0 = None if e0 is None else replace(e0, spin=None)
    levels, orbitals = np.zeros((spins, 0)), np.zeros((spins, 0, 0), dtype=np.float32)
    return Derived(nothing, nothing, levels, orbitals, (0,) * spins, energy_baseline=e0)


def _without_orbitals(
    label: LabelledMolecule, settings: DerivationSettings, mole: Any,
    matrices: tuple[NDArray[np.float64], NDArray[np.float64]], e0: EnergyBaselineResult | None,
) -> Derived:  # fmt: skip
    """Baselines of a label of which only energy and forces are known."""
    h0, s = matrices
    spins, none = label.spin_channels, float("nan")
    width = min(max(mole.nelec) + settings.virtuals, len(s))
    orbitals = np.zeros((spins, len(s), width), dtype=np.float32)
    levels = np.full((spins, width if settings.model_basis else len(s)), none)
    larger = LargeBasis(none, np.full(3, none), np.full((3, 3), none)) if settings.model_basis else None
    return Derived(h0, s, levels, orbitals, mole.nelec[:spins], larger, e0)


def _energy_baseline(label: LabelledMolecule, settings: DerivationSettings) -> EnergyBaselineResult | None:
    if settings.tight_binding is None:
        return None
    molecule = label.numbers, label.positions, label.charge, label.multiplicity
    e0 = settings.tight_binding(*molecule)
    if settings.charge_method is None:
        return e0
    published = settings.charge_method(*molecule)
    return replace(e0, charges=published.charges, spin=published.spin)


def _derive_from_larger(
    label: LabelledMolecule, settings: DerivationSettings, mole: Any, basis: AOBasis,
    matrices: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Derived:  # fmt: skip
    """Orbitals and observables of the label in its own basis, seen from the model's smaller one."""
    h0, s = matrices
    theirs, their_basis = _molecule(label, settings.level.basis)
    if len(s) > theirs.nao:
        raise BasisError(
            f"model_basis {settings.model_basis} has {len(s)} functions, {settings.level.basis}, that of the "
            f"labels, only {theirs.nao}: a model's matrix may be smaller than theirs, not larger"
        )
    their_overlap = overlap(theirs, their_basis).values
    solved = _solve(label, theirs, their_basis, their_overlap, SCF_OVERLAP_THRESHOLD)
    occupied = max(solved.occupied)
    if theirs.nelec != mole.nelec or len(s) < occupied:
        raise BasisError(
            f"{settings.model_basis} ({mole.nelectron} electrons, {len(s)} orbitals) cannot stand for "
            f"{settings.level.basis} ({theirs.nelectron} electrons outside core potentials)"
        )
    width = min(occupied + settings.virtuals, len(s))
    projection = scipy.linalg.solve(s, cross_overlap(mole, basis, theirs, their_basis), assume_a="pos")
    r = torch.from_numpy(dipole_integrals(theirs, their_basis))
    dipole, alpha = electronic_dipole(solved.density_matrix, r), solved.response(r)
    return Derived(
        h0,
        s,
        solved.orbital_energies[:, :width].numpy(),
        _lowest(solved, width, settings.virtuals, projection),
        solved.occupied,
        LargeBasis(finite_gap(solved), dipole.numpy(), alpha.numpy()),
    )


def _molecule(label: LabelledMolecule, basis: str) -> tuple[Any, AOBasis]:
    mole = build_mole(label.numbers, label.positions, basis, label.charge, label.multiplicity)
    return mole, basis_of(mole)


def _solve(
    label: LabelledMolecule, mole: Any, basis: AOBasis, s: NDArray[np.float64], threshold: float
) -> Orbitals:
    """Orbitals of the label's H in canonical AO order."""
    of_spins = [AOMatrix(m, label.numbers, basis, "pyscf") for m in label.matrices]
    h = np.stack([m.reorder("e3nn").values for m in of_spins])
    try:
        return Orbitals.solve(
            torch.from_numpy(h), torch.from_numpy(s), mole.nelectron, label.multiplicity, threshold
        )
    except HelmError as error:
        raise DatasetError(f"entry {label.name}: {error}") from error


def finite_gap(solved: Orbitals) -> float:
    """LUMO − HOMO, Hartree; NaN if there is no occupied or no virtual orbital."""
    return solved.gap if np.isfinite(solved.gap) else float("nan")


def _lowest(
    solved: Orbitals, width: int, virtuals: int, projection: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Occupied and lowest virtual orbitals, (s, A, width), projected on another basis if asked."""
    kept = []
    for c, n in zip(solved.orbitals.numpy(), solved.occupied, strict=True):
        own = c[:, : min(n + virtuals, width)]
        own = own if projection is None else projection @ own
        kept.append(np.pad(own, ((0, 0), (0, width - own.shape[1]))).astype(np.float32))
    return np.stack(kept)


def pack(derived: Derived, counted: bool = False) -> bytes:
    """Record → bytes; ``counted``: it says how many H0 matrices it holds, one for both spins or one for
    each."""
    s, a, m = derived.orbitals.shape
    head = SHAPE.pack(s, a, m, len(derived.electrons)) + np.array(derived.electrons, "<i8").tobytes()
    baselines = derived.baseline if derived.baseline.ndim == 3 else derived.baseline[None]
    head += np.array([len(baselines)], "<i8").tobytes() if counted else b""
    numbers = [*map(pack_triangle, [*baselines, derived.overlap]), derived.orbital_energies]
    parts = [(x, "<f8") for x in numbers] + [(derived.orbitals, "<f4")]
    if (large := derived.large) is not None:
        parts += [(x, "<f8") for x in (np.array([large.gap]), large.dipole, large.polarizability)]
    if (e0 := derived.energy_baseline) is not None:
        parts += [(x, "<f8") for x in (np.array([e0.energy]), e0.gradient, e0.charges)]
    return head + b"".join(np.ascontiguousarray(x, kind).tobytes() for x, kind in parts)


def unpack(
    payload: bytes, smaller: bool = False, energy_baseline: bool = False, counted: bool = False
) -> Derived:
    """Bytes → record; ``smaller``: in a smaller basis than the label's; ``energy_baseline``: with E0;
    ``counted``: it says how many H0 matrices it holds."""
    s, a, m, n = SHAPE.unpack_from(payload)
    place = SHAPE.size

    def take(kind: str, *shape: int) -> NDArray[Any]:
        nonlocal place
        array = np.frombuffer(payload, kind, int(np.prod(shape)), place).reshape(shape)
        place += array.nbytes
        return array.copy()

    electrons = tuple(take("<i8", n).tolist())
    matrices = int(take("<i8", 1)[0]) if counted else 1
    *baselines, overlap = (unpack_triangle(take("<f8", a * (a + 1) // 2)) for _ in range(matrices + 1))
    energies, orbitals = take("<f8", s, m if smaller else a), take("<f4", s, a, m)
    large = LargeBasis(float(take("<f8", 1)[0]), take("<f8", 3), take("<f8", 3, 3)) if smaller else None
    e0 = None
    if energy_baseline:
        energy, atoms = float(take("<f8", 1)[0]), (len(payload) - place) // 32
        e0 = EnergyBaselineResult(energy, take("<f8", atoms, 3), take("<f8", atoms))
    baseline = baselines[0] if matrices == 1 else np.stack(baselines)
    return Derived(baseline, overlap, energies, orbitals, electrons, large, e0)
