"""Baseline Hamiltonians H0: cheap approximations, correct also beyond the cutoff of the network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import gto
from pyscf.scf import hf

from helm_ase.errors import BasisError, SettingError
from helm_ase.qc.atomic_operators import operator_hamiltonian
from helm_ase.qc.exchange_splitting import exchange_splitting
from helm_ase.qc.level import Baseline, LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import atomic_numbers
from helm_ase.representation import AOBasis, AOMatrix
from helm_ase.representation.energy_baseline import EnergyBaselineResult

SAP_POTENTIALS = "sapgrasplarge"
"""Gaussian-fitted atomic potentials (Lehtola, Visscher & Engel, J. Chem. Phys. 152, 144105) in PySCF."""


def baseline_hamiltonian(
    mole: Any,
    basis: AOBasis,
    level: LevelOfTheory,
    baseline: Baseline,
    charges: NDArray[np.float64] | None = None,
) -> AOMatrix:
    """H0 in Hartree, canonical AO order, symmetric.

    Parameters
    ----------
    mole
        PySCF ``Mole``.
    basis
        Its shells.
    level
        Level of theory; ``minao`` uses its functional and density fitting.
    baseline
        Which H0.
    charges
        Charges of the atoms, e, (N,); needed by ``fitted`` operators that respond to them.

    Raises
    ------
    BasisError
        If it does not know an element of the molecule.
    SettingError
        If it is to be fitted first, or charges are missing.
    """
    match baseline.name:
        case "none":
            values = np.zeros((mole.nao, mole.nao))
        case "sap":
            values = sap_hamiltonian(mole)
        case "minao":
            values = minao_hamiltonian(mole, level, baseline.grid)
        case "fitted":
            values = operator_hamiltonian(mole, baseline.operators, charges)
    values = 0.5 * (values + values.T)
    return AOMatrix(values, atomic_numbers(mole), basis, "pyscf").reorder("e3nn")


def baseline_of_spins(
    mole: Any,
    basis: AOBasis,
    level: LevelOfTheory,
    baseline: Baseline,
    e0: EnergyBaselineResult | None = None,
) -> NDArray[np.float64]:
    """H0 in Hartree, canonical AO order, (A, A); (2, A, A), α first, of an open shell whose spins it tells
    apart.

    Parameters
    ----------
    mole, basis, level, baseline
        As for :func:`baseline_hamiltonian`.
    e0
        Charges and spin density, for a baseline that responds to them.

    Raises
    ------
    BasisError, SettingError
        As :func:`baseline_hamiltonian`; also if the spin density of an open shell is missing.
    """
    h0 = baseline_hamiltonian(mole, basis, level, baseline, None if e0 is None else e0.charges).values
    if not baseline.spins or not mole.spin:
        return h0
    if e0 is None or e0.spin is None:
        raise SettingError("the baseline tells α from β electrons: pass the spin density of the open shell")
    splitting = exchange_splitting(mole, baseline.operators, e0.spin)
    k = AOMatrix(splitting, atomic_numbers(mole), basis, "pyscf").reorder("e3nn").values
    return np.stack([h0 + k, h0 - k])


def sap_hamiltonian(mole: Any) -> NDArray[np.float64]:
    """Kinetic energy + superposition of atomic potentials, PySCF AO order.

    Each nucleus is screened by a fitted sum of s Gaussians, so that three-centre Coulomb integrals give
    the potential exactly and invariant under rotation; no grid is involved.

    Raises
    ------
    BasisError
        If an element carries an effective core potential: the fits are for all electrons.
    """
    symbols = sorted({mole.atom_symbol(a) for a in range(mole.natm)})
    if mole.has_ecp():
        raise BasisError(f"baseline 'sap' needs all electrons; {symbols} include an ECP: use 'minao'")
    screening = {s: np.asarray(gto.basis.load(SAP_POTENTIALS, s)[0][1:]) for s in symbols}
    plain = mole.copy()
    plain.charge, plain.spin = 0, int(sum(mole.atom_charges())) % 2
    plain.build(dump_input=False, parse_arg=False)
    return np.asarray(hf.get_hcore(plain) + hf.make_sap(plain, screening))


def minao_hamiltonian(mole: Any, level: LevelOfTheory, grid: tuple[int, int]) -> NDArray[np.float64]:
    """Fock matrix of PySCF's ``minao`` guess density, PySCF AO order.

    The density is that of neutral, spherical, closed-shell atoms, whatever the charge and multiplicity of the
    molecule, which only the network takes into account.
    """
    neutral = mole.copy()
    neutral.charge, neutral.spin = 0, int(sum(mole.atom_charges())) % 2
    neutral.build(dump_input=False, parse_arg=False)
    mf = kohn_sham(neutral, level)
    mf.grids.atom_grid = grid
    density = mf.get_init_guess(neutral, "minao")
    fock = mf.get_fock(dm=density)
    return np.asarray(fock if neutral.spin == 0 else 0.5 * (fock[0] + fock[1]))
