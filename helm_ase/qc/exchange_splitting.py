"""Exchange splitting of an open shell: how the baseline H0 of α electrons differs from that of β electrons.

An orbital that holds an unpaired electron lies several eV lower for α than for β electrons, because exchange
acts between electrons of like spin only.  Which orbital that is depends on the whole molecule, and GFN2-xTB,
which is asked for charges anyway, knows it.  With its spin density P, seen through functions φ of the free
atoms,

    H_α, H_β = H0 ± K,    K = Σ_kl |φ_k⟩ ½ (u_k + u_l) P_kl ⟨φ_l|,

where u is one number for each element, fitted to H_α − H_β of labels.

Where the half-filled orbital of GFN2-xTB changes along a path, K changes with it, within a small range of
geometries; and where Kohn–Sham theory breaks the symmetry of equal orbitals, as in NO, K does not.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pyscf import gto
from pyscf.data.elements import CONFIGURATION

from helm_ase.errors import BasisError, DatasetError
from helm_ase.qc.molecule import atomic_numbers
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.energy_baseline import SpinDensity
from helm_ase.representation.ordering import reordering

Array = NDArray[np.float64]
FREE_ATOMS = "minao"
"""PySCF's contracted functions of free atoms; of each degree the outermost one counts."""
ELECTRONS = (2, 6, 10, 14)
"""Electrons in a full shell of degree l = 0, 1, 2, 3."""
PRIOR = 0.1
"""Weight of the common u beside the labels, in open shells: what elements get of which labels say little."""


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

    Raises
    ------
    BasisError
        If an element has no operator, or one that does not know its exchange.
    """
    exchange = {operator.number: operator.exchange for operator in operators}
    splitting = np.zeros((mole.nao, mole.nao))
    for z, unit in unit_splittings(mole, spin).items():
        if (u := exchange.get(z)) is None:
            raise BasisError(f"the baseline knows no exchange splitting of {chemical_symbols[z]}")
        splitting += u * unit
    return splitting


def unit_splittings(mole: Any, spin: SpinDensity) -> dict[int, Array]:
    """Derivative of K with respect to u of each element, Hartree per Hartree, (A, A)."""
    numbers = atomic_numbers(mole)
    order = np.lexsort((spin.degrees, spin.atoms))  # by atom and degree, as PySCF sorts functions
    kept = [k for k in order if _is_valence(int(numbers[spin.atoms[k]]), spin, k)]
    if not kept:
        return {}
    shells = [(int(spin.atoms[k]), int(spin.degrees[k])) for k in kept]
    rows = np.concatenate([np.arange(len(spin.matrix))[spin.rows_of(k)] for k in kept])
    owners = np.repeat([numbers[atom] for atom, _ in shells], [2 * l + 1 for _, l in shells])
    seen = _overlap(mole, numbers, shells)  # (A, M)
    weighted = seen @ spin.matrix[np.ix_(rows, rows)]
    splittings = {}
    for z in np.unique(owners).tolist():
        half = 0.5 * seen[:, owners == z] @ weighted[:, owners == z].T
        splittings[z] = half + half.T
    return splittings


def _is_valence(number: int, spin: SpinDensity, shell: int) -> bool:
    """Whether a shell of the density is the outermost one of its degree in the free atom: polarisation
    functions are not."""
    known = _valence(number).get(int(spin.degrees[shell]))
    return known is not None and known[0] == spin.principal[shell]


@cache
def _valence(number: int) -> dict[int, tuple[int, list[Any]]]:
    """Degree → principal quantum number and function of the outermost shell of the free atom, in PySCF's
    format, positive at a distance."""
    functions: dict[int, tuple[int, list[Any]]] = {}
    for l, *primitives in gto.basis.load(FREE_ATOMS, chemical_symbols[number]):
        outer = min(primitives, key=lambda row: row[0])[-1]
        n = l + -(-CONFIGURATION[number][l] // ELECTRONS[l])
        functions[l] = n, [l, *([row[0], np.copysign(1.0, outer) * row[-1]] for row in primitives)]
    return functions


def _overlap(mole: Any, numbers: NDArray[np.int64], shells: Sequence[tuple[int, int]]) -> Array:
    """Overlap with the functions of some shells of free atoms, of each from m = −l to l, (A, M)."""
    labels = [f"{chemical_symbols[z]}{k}" for k, z in enumerate(numbers)]
    basis: dict[str, list[Any]] = {label: [] for label in labels}
    for atom, l in shells:
        basis[labels[atom]].append(_valence(int(numbers[atom]))[l][1])
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
        self.count = 0
        self.gram: dict[tuple[int, int], float] = {}
        self.moment: dict[int, float] = {}

    def add(self, mole: Any, hamiltonian: Array, spin: SpinDensity) -> None:
        """Add one molecule, with H of α and β in Hartree and PySCF's AO order, (2, A, A)."""
        units = unit_splittings(mole, spin)
        target = 0.5 * (hamiltonian[0] - hamiltonian[1])
        self.count += 1
        for z, one in units.items():
            self.moment[z] = self.moment.get(z, 0.0) + float((one * target).sum())
            for w, other in units.items():
                self.gram[z, w] = self.gram.get((z, w), 0.0) + float((one * other).sum())

    def solve(self, operators: Sequence[AtomicOperator]) -> tuple[AtomicOperator, ...]:
        """Operators with their exchange; elements of which the labels say little get the common one.

        Raises
        ------
        DatasetError
            If no open shell was seen.
        """
        size = sum(self.gram.values())
        if not size:
            raise DatasetError(
                "there are no labels of open shells to fit the exchange splitting of H0 to: leave out 'spins'"
            )
        elements = sorted(self.moment)
        common = sum(self.moment.values()) / size
        prior = PRIOR * size / self.count
        gram = np.array([[self.gram.get((z, w), 0.0) for w in elements] for z in elements])
        moment = np.array([self.moment[z] for z in elements]) + prior * common
        values = np.linalg.solve(gram + prior * np.eye(len(elements)), moment)
        found = dict(zip(elements, values.tolist(), strict=True))
        return tuple(replace(operator, exchange=found.get(operator.number, common)) for operator in operators)
