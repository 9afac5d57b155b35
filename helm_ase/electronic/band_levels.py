"""Energy levels of a crystal at given k points, H(k) C = S(k) C ε, with exact gradients even where bands
cross."""

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from helm_ase.electronic.bloch import LatticeOperator, chunks
from helm_ase.electronic.differentiable import with_gradient
from helm_ase.errors import BasisError, PredictionError
from helm_ase.representation.kpoints import as_tensor
from helm_ase.representation.overlap import OVERLAP_THRESHOLD, CanonicalBasis, canonical_basis


def levels_at(
    hamiltonian: LatticeOperator,
    overlap: LatticeOperator | None,
    kpts: ArrayLike | Tensor,
    threshold: float = OVERLAP_THRESHOLD,
) -> Tensor:
    """Levels at k points.

    Parameters
    ----------
    hamiltonian
        Hartree; gradients of the levels go to its blocks.
    overlap
        Overlap of the same functions; None: they are orthonormal.  No gradient is taken.
    kpts
        Fractional, (K, 3): of a mesh, or the ``kpts`` of a band path.
    threshold
        Directions whose eigenvalue of S(k) is not larger are dropped, at every k by itself.

    Returns
    -------
    Tensor
        Hartree, ascending, (K, A); as many as were dropped are +inf, at the end.

    Raises
    ------
    BasisError
        If H and S differ in size, or S(k) has a clearly negative eigenvalue.
    PredictionError
        If H or S is not finite.
    SettingError
        If the k points are not finite fractions of that shape.
    """
    if overlap is not None and overlap.size != hamiltonian.size:
        raise BasisError(f"H has {hamiltonian.size} functions, S has {overlap.size}")
    for operator in (hamiltonian, overlap):
        if operator is not None and not bool(torch.isfinite(operator.values).all()):
            raise PredictionError("the Hamiltonian or overlap holds numbers that are not finite")
    matrices = []
    for k in chunks(as_tensor(kpts), hamiltonian.size):
        s = None if overlap is None else overlap.at(k).detach()
        matrices.append(levels(hamiltonian.at(k), s, threshold))
    return torch.cat(matrices)


def levels(
    hamiltonian: Tensor, overlap: Tensor | None = None, threshold: float = OVERLAP_THRESHOLD
) -> Tensor:
    """Levels of Hermitian matrices, as in :func:`levels_at`.

    Parameters
    ----------
    hamiltonian, overlap
        Complex, (K, A, A); no gradient is taken with respect to the overlap.
    threshold
        Threshold of the eigenvalues of the overlap.

    Returns
    -------
    Tensor
        Hartree, (K, A).  dε_i = c_i† dH c_i; levels of one k within 1e-7 Eh share the mean.
    """
    with torch.no_grad():
        energies, orbitals = solve(hamiltonian, overlap, threshold)
    return with_gradient(hamiltonian, energies, orbitals)


def solve(hamiltonian: Tensor, overlap: Tensor | None, threshold: float) -> tuple[Tensor, Tensor]:
    """Levels (K, A) and orbitals (K, A, A) as columns, C† S C = 1; dropped ones are +inf and zero.

    Raises
    ------
    BasisError
        If an overlap has a clearly negative eigenvalue.
    """
    if overlap is None:
        energies, vectors = torch.linalg.eigh(hamiltonian)
        return energies, vectors
    x, kept, _ = _orthogonalisers(overlap, threshold)
    fock = x.mH @ hamiltonian @ x
    above = 2 * fock.abs().sum(2).amax(1) + 1  # beyond every level: Gershgorin
    fock = 0.5 * (fock + fock.mH) + torch.diag_embed(torch.where(kept, 0.0, above[:, None]))
    energies, vectors = torch.linalg.eigh(fock)
    place = torch.arange(energies.shape[1], device=energies.device)
    none = place >= kept.sum(1, keepdim=True)
    orbitals = x @ vectors
    return energies.masked_fill(none, torch.inf), orbitals.masked_fill(none[:, None, :], 0.0)


def _orthogonalisers(overlap: Tensor, threshold: float) -> CanonicalBasis:
    """Matrices X with X† S X = 1 by canonical orthogonalisation, for every k point separately."""
    basis = canonical_basis(overlap, threshold)
    if basis.smallest < -1e-6:
        raise BasisError(
            f"S(k) has the eigenvalue {basis.smallest:.2e}; it must be positive: translations are missing, "
            f"or the sum over them was cut too early"
        )
    return basis
