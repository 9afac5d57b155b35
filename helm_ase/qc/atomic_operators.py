"""Baseline Hamiltonian from fitted operators of atoms, without a grid, a density or a Fock matrix.

Both integrals, of s Gaussians with pairs of functions and of functions with each other, are exact except for
terms that are negligible at a distance, so that H0 turns with the molecule.  Being an operator and not a
table of matrix elements, it leaves no ghost states where functions are almost linearly dependent.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pyscf import df, gto
from pyscf.scf import hf

from helm_ase.errors import BasisError, SettingError
from helm_ase.qc.molecule import atomic_numbers
from helm_ase.qc.screened_nuclei import Screening, screened_nuclei
from helm_ase.representation.atomic_operator import AtomicOperator

CHUNK = 2**24
"""Three-centre integrals held at a time: 128 MiB."""


def operator_hamiltonian(
    mole: Any, operators: Sequence[AtomicOperator], charges: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """T + V_nuclei + Σ_atoms V, Hartree, PySCF AO order, (A, A).

    Parameters
    ----------
    mole
        PySCF ``Mole``; its charge and multiplicity do not matter.
    operators
        One for each element that occurs, in any order.
    charges
        Charges of the atoms, e, (N,), for operators that respond to them.

    Raises
    ------
    BasisError
        If an element has no operator, or its projectors are for another number of functions.
    SettingError
        If there are no operators at all, or no charges where they are needed.
    """
    if not operators:
        raise SettingError(
            "baseline 'fitted' has no operators yet: training fits them, or helm_ase.training.fitted_baseline"
        )
    s = mole.intor_symmetric("int1e_ovlp")
    known = {operator.number: operator for operator in operators}
    numbers = atomic_numbers(mole)
    parts, projected = [], np.zeros_like(s)
    for z in np.unique(numbers).tolist():
        if z not in known:
            raise BasisError(
                f"the baseline holds operators of {', '.join(chemical_symbols[k] for k in sorted(known))}, "
                f"not of {chemical_symbols[z]}"
            )
        atoms = np.flatnonzero(numbers == z)
        q = _charges_of(known[z], atoms, charges)
        parts.append(_screening_of(known[z], atoms, q))
        projected += projection(mole, s, atoms, known[z], q)
    kinetic = mole.intor_symmetric("int1e_kin")
    if len(mole._ecpbas):
        kinetic = kinetic + mole.intor_symmetric("ECPscalar")
    return np.asarray(kinetic + screened_nuclei(mole, parts) + projected)


def _charges_of(
    operator: AtomicOperator, atoms: NDArray[np.int64], charges: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Charges of some atoms of one element, if its operator responds to them."""
    if not operator.responds_to_charge:
        return None
    if charges is None:
        raise SettingError(
            f"the baseline's operator of {chemical_symbols[operator.number]} responds to the charge of the "
            "atom: pass charges"
        )
    return charges[atoms]


def _screening_of(
    operator: AtomicOperator, atoms: NDArray[np.int64], charges: NDArray[np.float64] | None
) -> Screening:
    electrons = np.tile(operator.electrons, (len(atoms), 1))
    if charges is not None:
        electrons[:, : len(operator.charge_electrons)] += np.outer(charges, operator.charge_electrons)
    order = np.argsort(operator.exponents)
    return Screening(atoms, np.array(operator.exponents)[order], electrons[:, order])


def bare_hamiltonian(mole: Any) -> NDArray[np.float64]:
    """Kinetic energy and attraction of the nuclei (and core potentials), Hartree, (A, A)."""
    return np.asarray(hf.get_hcore(mole))


def unit_fields(
    mole: Any, atoms: NDArray[np.int64], exponents: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Field of one electron in each Gaussian, summed over atoms with several sets of weights.

    Parameters
    ----------
    mole
        PySCF ``Mole``.
    atoms
        Where the Gaussians are, (n,).
    exponents
        Exponents of the Gaussians, a0⁻², (k,).
    weights
        Weights of the atoms, (n, w).

    Returns
    -------
    NDArray
        Lower triangles, Hartree, (w, k, A (A + 1) / 2).
    """
    pairs = mole.nao * (mole.nao + 1) // 2
    k, step = len(exponents), max(1, CHUNK // (pairs * len(exponents)))
    total = np.zeros((weights.shape[1], k, pairs))
    places = mole.atom_coords()[atoms]
    for first in range(0, len(atoms), step):
        part = slice(first, first + step)
        near = places[part]
        clouds = gto.fakemol_for_charges(near.repeat(k, 0), np.tile(exponents, len(near)))
        values = df.incore.aux_e2(mole, clouds, "int3c2e", aosym="s2ij").reshape(pairs, -1, k)
        total += np.einsum("pnk,nw->wkp", values, weights[part], optimize=True)
    return total


def clouds_of(places: NDArray[np.float64], exponents: Sequence[float], electrons: NDArray[np.float64]) -> Any:
    """``Mole`` with one shell on every place, whose Coulomb potential is that of its electrons, (n, k)."""
    clouds = gto.fakemol_for_cgtf_charge(places[:1], np.array(exponents), np.ones(len(exponents)))
    unit = clouds._env[clouds._bas[0, gto.PTR_COEFF] :][: len(exponents)]  # of one electron each
    end, count = len(clouds._env), len(places)
    clouds._env = np.concatenate([clouds._env, places.ravel(), (electrons * unit).ravel()])
    clouds._atm, clouds._bas = np.repeat(clouds._atm, count, 0), np.repeat(clouds._bas, count, 0)
    clouds._atm[:, gto.PTR_COORD] = end + 3 * np.arange(count)
    clouds._bas[:, gto.ATOM_OF] = np.arange(count)
    clouds._bas[:, gto.PTR_COEFF] = end + 3 * count + len(exponents) * np.arange(count)
    return clouds


def projection(
    mole: Any,
    s: NDArray[np.float64],
    atoms: NDArray[np.int64],
    operator: AtomicOperator,
    charges: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Σ |χ⟩ P ⟨χ| of some atoms, Hartree, (A, A); with their charges, (atoms,), of P + q Q.

    Raises
    ------
    BasisError
        If the atoms carry other shells than the projectors are for.
    """
    functions = functions_by_degree(mole, atoms)
    sizes = [f.shape[1] for f in functions]
    if sizes != [len(p) for p in operator.projectors]:
        raise BasisError(
            f"the projectors of {chemical_symbols[operator.number]} are for "
            f"{[len(p) for p in operator.projectors]} shells of l = 0, 1, …; the basis has {sizes}"
        )
    projected = np.zeros_like(s)
    for l, index in enumerate(functions):
        n = sizes[l]
        matrix = np.tile(np.reshape(operator.projectors[l], (n, n)), (len(atoms), 1, 1))
        if charges is not None:
            matrix += np.multiply.outer(charges, np.reshape(operator.charge_projectors[l], (n, n)))
        chi = s[:, index]  # (A, atoms, n, 2l + 1)
        weighted = np.einsum("akim,kij->akjm", chi, matrix)
        projected += weighted.reshape(len(s), -1) @ chi.reshape(len(s), -1).T
    return projected


def functions_by_degree(mole: Any, atoms: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Where the functions of equal atoms stand, for each degree l, (atoms, n, 2l + 1)."""
    first = mole.ao_loc_nr()
    functions: dict[int, list[list[NDArray[np.int64]]]] = {}
    for place, atom in enumerate(atoms):
        for shell in mole.atom_shell_ids(atom):
            l, n = int(mole.bas_angular(shell)), int(mole.bas_nctr(shell))
            rows = first[shell] + np.arange(n * (2 * l + 1)).reshape(n, -1)
            functions.setdefault(l, [[] for _ in atoms])[place].extend(rows)
    return [np.array(functions[l]) if l in functions else np.zeros((len(atoms), 0, 2 * l + 1), np.int64)
            for l in range(max(functions) + 1)]  # fmt: skip
