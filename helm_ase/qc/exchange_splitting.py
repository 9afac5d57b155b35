"""Exchange splitting of an open shell: how the baseline H0 of α electrons differs from that of β electrons.

An orbital that holds an unpaired electron lies several eV lower for α than for β electrons, because exchange
acts between electrons of like spin only.  Which orbital that is depends on the whole molecule, and GFN2-xTB,
which is asked for charges anyway, knows it.  With its spin density P, seen through functions φ of the free
atoms,

    H_α, H_β = H0 ± K,    K = Σ_kl |φ_k⟩ ½ (u_k + u_l) P_kl ⟨φ_l|,

where u is one number for each element, fitted to H_α − H_β of labels.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pyscf import gto

from helm_ase.qc.molecule import atomic_numbers
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.energy_baseline import SpinDensity
from helm_ase.representation.ordering import reordering

Array = NDArray[np.float64]
FREE_ATOMS = "minao"
"""PySCF's contracted functions of free atoms; of each degree the outermost one is taken."""
RIDGE = 1e-6
"""Relative ridge parameter of the fit."""


def exchange_splitting(mole: Any, operators: Sequence[AtomicOperator], spin: SpinDensity) -> Array:
    """K in Hartree and PySCF's AO order, (A, A).

    Parameters
    ----------
    mole
        PySCF ``Mole``.
    operators
        Those of the elements that occur, in any order, with their ``exchange``.
    spin
        Density of the unpaired electrons.
    """
    exchange = {operator.number: operator.exchange or 0.0 for operator in operators}
    splitting = np.zeros((mole.nao, mole.nao))
    for z, unit in unit_splittings(mole, spin).items():
        splitting += exchange[z] * unit
    return splitting


def unit_splittings(mole: Any, spin: SpinDensity) -> dict[int, Array]:
    """Derivative of K with respect to u of each element, (A, A)."""
    numbers = atomic_numbers(mole)
    shells = [k for k in range(len(spin.degrees)) if spin.degrees[k] in _valence(int(numbers[spin.atoms[k]]))]
    if not shells:
        return {}
    rows = np.concatenate([np.arange(len(spin.matrix))[spin.rows_of(k)] for k in shells])
    owners = np.concatenate([[numbers[spin.atoms[k]]] * (2 * spin.degrees[k] + 1) for k in shells])
    seen = _overlap(mole, numbers, [(int(spin.atoms[k]), int(spin.degrees[k])) for k in shells])  # (A, M)
    weighted = seen @ spin.matrix[np.ix_(rows, rows)]
    splittings = {}
    for z in np.unique(owners).tolist():
        half = 0.5 * seen[:, owners == z] @ weighted[:, owners == z].T
        splittings[z] = half + half.T
    return splittings


def _valence(number: int) -> dict[int, list[Any]]:
    """Degree → outermost function of the free atom, in PySCF's format."""
    functions: dict[int, list[Any]] = {}
    for l, *primitives in gto.basis.load(FREE_ATOMS, chemical_symbols[number]):
        functions[l] = [l, *([row[0], row[-1]] for row in primitives)]
    return functions


def _overlap(mole: Any, numbers: NDArray[np.int64], shells: Sequence[tuple[int, int]]) -> Array:
    """Overlap with the functions of some shells of free atoms, of each from m = −l to l, (A, M)."""
    labels = [f"{chemical_symbols[z]}{k}" for k, z in enumerate(numbers)]
    basis: dict[str, list[Any]] = {label: [] for label in labels}
    for atom, l in shells:
        basis[labels[atom]].append(_valence(int(numbers[atom]))[l])
    held = [k for k, label in enumerate(labels) if basis[label]]
    atoms = gto.M(
        atom=[(labels[k], mole.atom_coord(k)) for k in held], unit="Bohr", spin=None, verbose=0,
        basis={labels[k]: basis[labels[k]] for k in held},
    )  # fmt: skip
    index, sign = reordering([l for _, l in shells], "pyscf", "e3nn")
    return np.asarray(gto.intor_cross("int1e_ovlp", mole, atoms)[:, index] * sign)


class SplittingFit:
    """Normal equations for u of every element, from all open shells seen so far."""

    def __init__(self) -> None:
        self.gram: dict[tuple[int, int], float] = {}
        self.moment: dict[int, float] = {}

    def add(self, mole: Any, hamiltonian: Array, spin: SpinDensity) -> None:
        """Add one molecule, with H of α and β in Hartree and PySCF's AO order, (2, A, A)."""
        units = unit_splittings(mole, spin)
        target = 0.5 * (hamiltonian[0] - hamiltonian[1])
        for z, one in units.items():
            self.moment[z] = self.moment.get(z, 0.0) + float((one * target).sum())
            for w, other in units.items():
                self.gram[z, w] = self.gram.get((z, w), 0.0) + float((one * other).sum())

    def solve(self, operators: Sequence[AtomicOperator]) -> tuple[AtomicOperator, ...]:
        """Operators with their exchange; of elements that carried no unpaired electron it is zero."""
        seen = sorted(z for z, value in self.moment.items() if self.gram[z, z] > 0)
        values = np.zeros(0)
        if seen:
            gram = np.array([[self.gram.get((z, w), 0.0) for w in seen] for z in seen])
            scale = np.sqrt(gram.diagonal())
            matrix = gram / np.outer(scale, scale) + RIDGE * np.eye(len(seen))
            values = np.linalg.solve(matrix, np.array([self.moment[z] for z in seen]) / scale) / scale
        found = dict(zip(seen, values.tolist(), strict=True))
        return tuple(replace(operator, exchange=found.get(operator.number, 0.0)) for operator in operators)
