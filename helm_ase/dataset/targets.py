"""Reference values for the losses on observables, and the integrals that these losses need."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.dataset.derived import Derived, finite_gap
from helm_ase.electronic.bond_orders import mayer_bond_orders
from helm_ase.electronic.charges import mulliken_populations, sum_over_atoms
from helm_ase.electronic.multipoles import electronic_dipole
from helm_ase.electronic.orbitals import Orbitals
from helm_ase.representation.overlap import canonical_orthogonaliser


@dataclass(frozen=True)
class Targets:
    """One molecule in the basis of the model, canonical AO order, float64.

    Symbols: s spins (1 closed shell, 2 for α and β), A functions, M ≤ A orbitals, K reference orbitals.  NaN
    where there is nothing to compare with.
    """

    baseline: Tensor
    """H0, Hartree, (A, A); of an open shell whose spins it tells apart (2, A, A)."""
    overlap: Tensor
    """S, (A, A)."""
    orthogonaliser: Tensor
    """X with Xᵀ S X = 1, (A, M); with its columns scaled to unit length, X̂, S^(−½) = X X̂ᵀ."""
    position: Tensor
    """⟨μ| r |ν⟩ about the origin, bohr, (3, A, A)."""
    atom: Tensor
    """Atom of each function, (A,), int64."""
    occupied: tuple[int, ...]
    """Occupied orbitals of each spin, (s,)."""
    projection: Tensor
    """Overlap of the reference orbitals with the functions, Cᵀ S, (s, K, A)."""
    levels: Tensor
    """Energies of the reference orbitals: occupied and the lowest virtual ones, Hartree, (s, K)."""
    gap: Tensor
    """LUMO − HOMO over both spins, Hartree, ()."""
    dipole: Tensor
    """Its electronic part, e·a0, (3,)."""
    polarizability: Tensor
    """a0³, (3, 3); ``coupled`` says which one."""
    populations: Tensor
    """Mulliken population of each atom, e, (N,)."""
    bond_orders: Tensor
    """Mayer bond orders, (N, N), zero on the diagonal."""
    coupled: bool
    """Whether ``polarizability`` is the coupled one of the label or the uncoupled one of its H."""
    larger: bool
    """Whether the label has a larger basis, of which ``projection`` sees a part."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Targets":
        """Return the same on another device."""
        return replace(self, **tensors_on(device, self, non_blocking))


def make_targets(
    derived: Derived,
    correction: NDArray[np.float64],
    position: NDArray[np.float64],
    atom: NDArray[np.int64],
    coupled: NDArray[np.float64] | None = None,
) -> Targets:
    """Observables of H0 + ΔH or, where the label has a larger basis, of the label's H there.

    Parameters
    ----------
    derived
        H0, S and orbitals.
    correction
        ΔH, Hartree, (s, A, A); not looked at where the label has a larger basis.
    position
        In the basis of the model, bohr, (3, A, A).
    atom
        Atom of each function, (A,).
    coupled
        Polarizability to aim at instead of the uncoupled one, a0³, (3, 3); NaN: none.
    """
    h0, s = torch.from_numpy(derived.baseline), torch.from_numpy(derived.overlap)
    integrals, owner = torch.from_numpy(position), torch.from_numpy(atom)
    if derived.large is None:
        own = solve_occupied(h0 + torch.from_numpy(correction), s, derived.electrons)
        x, reference = own.orthogonaliser, _of_matrix(derived, own, integrals, owner)
    else:
        x = canonical_orthogonaliser(s)
        reference = _of_larger_basis(derived, int(atom[-1]) + 1, x.shape[1])
    if coupled is not None:
        reference["polarizability"] = coupled
    arrays = {"baseline": h0, "overlap": s, "orthogonaliser": x, "position": integrals, **reference}
    tensors = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in arrays.items()}
    return Targets(
        atom=owner,
        occupied=derived.electrons,
        coupled=coupled is not None,
        larger=derived.large is not None,
        **tensors,
    )


def solve_occupied(hamiltonian: Tensor, overlap: Tensor, occupied: Sequence[int]) -> Orbitals:
    """Orbitals of a matrix, Hartree, (s, A, A), of which so many are occupied in each spin.

    Parameters
    ----------
    hamiltonian
        Its symmetric part counts.
    overlap
        (A, A), same AO order.
    occupied
        (s,).
    """
    symmetric = 0.5 * (hamiltonian + hamiltonian.mT)
    unpaired = occupied[0] - occupied[-1]
    electrons = sum(occupied) * (2 // len(occupied))
    return Orbitals.solve(symmetric, overlap, electrons, 1 + unpaired)


def _of_matrix(derived: Derived, own: Orbitals, position: Tensor, atom: Tensor) -> dict[str, Any]:
    """Observables of a matrix in the basis of the model, of as many orbitals as were derived."""
    s, kept = own.overlap, (derived.orbitals != 0).any(1)  # (s, K)
    levels, projection = np.full(kept.shape, np.nan), np.zeros((*kept.shape, len(s)))
    for spin, (energies, c) in enumerate(zip(own.orbital_energies, own.orbitals, strict=True)):
        k = min(int(kept[spin].sum()), len(energies))
        levels[spin, :k], projection[spin, :k] = energies[:k], c[:, :k].T @ s
    density, count = own.density_matrix, int(atom[-1]) + 1
    return {
        "projection": projection,
        "levels": levels,
        "gap": finite_gap(own),
        "dipole": electronic_dipole(density, position),
        "polarizability": own.response(position),
        "populations": sum_over_atoms(mulliken_populations(density, s), atom, count),
        "bond_orders": mayer_bond_orders(own.spin_densities, s, atom, count),
    }


def _of_larger_basis(derived: Derived, atoms: int, orbitals: int) -> dict[str, Any]:
    """Observables of the label; what refers to functions of atoms means something else in another basis."""
    assert derived.large is not None
    kept = (derived.orbitals != 0).any(1)  # (s, K)
    kept[:, orbitals:] = False  # directions that were dropped
    return {
        "projection": derived.orbitals.astype(np.float64).swapaxes(1, 2) @ derived.overlap,
        "levels": np.where(kept, derived.orbital_energies, np.nan),
        "gap": derived.large.gap,
        "dipole": derived.large.dipole,
        "polarizability": derived.large.polarizability,
        "populations": np.full(atoms, np.nan),
        "bond_orders": np.full((atoms, atoms), np.nan),
    }


def tensors_on(device: torch.device | str, record: Any, non_blocking: bool = False) -> dict[str, Any]:
    """Tensors of a dataclass on another device, by their names."""
    return {
        f.name: value.to(device, non_blocking=non_blocking)
        for f in fields(record)
        if isinstance(value := getattr(record, f.name), Tensor)
    }
