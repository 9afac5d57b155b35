"""Bond orders of Mayer and Wiberg."""

import torch
from torch import Tensor

from helm_ase.representation.overlap import symmetric_root


def mayer_bond_orders(densities: Tensor, overlap: Tensor, atom: Tensor, count: int) -> Tensor:
    """Mayer's bond orders, (N, N), zero on the diagonal.

    B_AB = f Σ_spins Σ_μ∈A Σ_ν∈B (D S)_μν (D S)_νμ with f = 1 for the one density of a closed shell and 2 for
    those of α and β (Mayer, Chem. Phys. Lett. 97, 270 (1983) and 117, 396 (1985)).

    Parameters
    ----------
    densities
        Density matrix of each spin, (s, A, A).
    overlap
        (A, A), same AO order.
    atom
        Atom of each function, (A,).
    count
        Number of atoms.
    """
    shares = densities @ overlap
    return _between_atoms((shares * shares.transpose(1, 2)).sum(0) * len(densities), atom, count)


def wiberg_bond_orders(densities: Tensor, overlap: Tensor, atom: Tensor, count: int) -> Tensor:
    """Wiberg's bond orders in the basis of Löwdin's functions, (N, N), zero on the diagonal.

    As Mayer's, with P = S^½ D S^½ in place of D S: W_AB = f Σ_spins Σ_μ∈A Σ_ν∈B P_μν².  Parameters as there.
    """
    root = symmetric_root(overlap)
    return _between_atoms((root @ densities @ root).square().sum(0) * len(densities), atom, count)


def _between_atoms(products: Tensor, atom: Tensor, count: int) -> Tensor:
    member = torch.nn.functional.one_hot(atom, count).to(products)  # (A, N)
    sums = member.T @ products @ member
    return sums - torch.diag(sums.diagonal())
