"""H0 of α electrons beside that of β electrons: symmetry, limits, the fit, and levels of real radicals."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii
from ase.units import Bohr
from pyscf import dft
from scipy.spatial.transform import Rotation
from tblite.interface import Calculator

from helm_ase.dataset.derived import DerivationSettings, derive, pack, unpack
from helm_ase.errors import BasisError, DatasetError, SettingError
from helm_ase.qc import exchange_splitting as module
from helm_ase.qc.baseline import baseline_of_spins
from helm_ase.qc.exchange_splitting import SplittingFit, exchange_splitting
from helm_ase.qc.level import Baseline
from helm_ase.qc.molecule import basis_of, build_mole, overlap
from helm_ase.qc.operator_fit import OperatorFit
from helm_ase.qc.tight_binding import TightBinding, with_parameters
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.level import LevelOfTheory

ELEMENTS = (1, 6, 7, 8)
BASIS = "def2-svp"
LEVEL = LevelOfTheory("b3lyp", "", BASIS, True, 3, 1e-9, "")


@pytest.fixture(scope="module")
def method():
    return TightBinding(with_parameters(EnergyBaseline("gfn2-xtb"), ELEMENTS), spins=True)


@pytest.fixture(scope="module")
def operators():
    """Screening of free atoms, so rough that only the exchange matters here."""
    fit = OperatorFit()
    for name in ("H2O", "CH4", "NH3", "CH3OH", "H2CO", "HCN"):
        mole = mole_of(molecule(name))
        mf = dft.RKS(mole, xc="lda,vwn").density_fit().run(verbose=0)
        fit.add(mole, mf.get_fock())
    return tuple(replace(o, exchange=-0.01 * o.number) for o in fit.solve())


def mole_of(atoms, charge=0, multiplicity=1):
    return build_mole(atoms.numbers, atoms.positions, BASIS, charge, multiplicity)


def radical(name="CH3CH2O", seed=0):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    return atoms


def spin_of(method, atoms, charge=0, multiplicity=2):
    return method(atoms.numbers, atoms.positions, charge, multiplicity).spin


def canonical(mole, basis, level, operators, e0):
    baseline = Baseline("fitted", operators=operators, spins=True)
    return baseline_of_spins(mole, basis, level, baseline, e0)


@pytest.mark.parametrize(
    ("name", "multiplicity"), [("C2H5", 2), ("CH3CH2O", 2), ("O2", 3), ("NO", 2), ("CN", 2), ("CH2_s3B1d", 3)]
)
def test_the_spin_density_holds_the_unpaired_electrons(method, name, multiplicity):
    atoms = molecule(name)
    spin = spin_of(method, atoms, multiplicity=multiplicity)
    s = overlap_of(method.baseline, atoms, multiplicity - 1)
    assert np.trace(spin.matrix @ s) == pytest.approx(multiplicity - 1, abs=1e-6)
    np.testing.assert_allclose(spin.matrix, spin.matrix.T, atol=1e-12)
    assert (
        np.linalg.eigvalsh(spin.matrix).min() > -1e-6
    )  # every orbital has at least as many α as β electrons


def test_a_hydrogen_atom_is_all_spin(method):
    atoms = Atoms("H")
    spin = spin_of(method, atoms)
    np.testing.assert_allclose(spin.matrix, [[1.0]], atol=1e-12)
    mole = mole_of(atoms, multiplicity=2)
    operator = AtomicOperator(1, (1.0,), (1.0,), (((0.0, 0.0), (0.0, 0.0)), ((0.0,),)), exchange=-0.1)
    assert np.linalg.eigvalsh(exchange_splitting(mole, [operator], spin)).min() < -0.05


def test_a_closed_shell_has_none(method):
    atoms = molecule("H2O")
    assert method(atoms.numbers, atoms.positions, 0, 1).spin is None


def test_equal_orbitals_share_an_electron_whatever_the_direction(method, operators):
    """In NO either of two π* orbitals could hold the electron: both do by half, on any axes."""
    levels = []
    for turn in (np.eye(3), Rotation.random(random_state=1).as_matrix()):
        atoms = molecule("NO")
        atoms.positions = atoms.positions @ turn.T
        mole = mole_of(atoms, multiplicity=2)
        e0 = method(atoms.numbers, atoms.positions, 0, 2)
        h = canonical(mole, basis_of(mole), LEVEL, operators, e0)
        s = overlap(mole, basis_of(mole)).values
        levels.append([scipy.linalg.eigh(x, s, eigvals_only=True) for x in h])
    np.testing.assert_allclose(levels[0], levels[1], atol=1e-7)
    occupied = mole.nelec[1]
    for spin_levels in levels[0]:  # the half-filled π* orbitals, just above those that both spins fill
        assert abs(spin_levels[occupied] - spin_levels[occupied + 1]) < 1e-6


@pytest.mark.parametrize(
    "atoms",
    [
        radical(), Atoms("NiH", [[0, 0, 0], [0.3, 0.4, 1.4]]), Atoms("BrO", [[0, 0, 0], [1.1, 0.9, 0.9]]),
        Atoms("OICH2", [[0, 0, 0], [0.5, 0.6, 1.7], [2.5, 0.8, 2.2], [2.9, 1.8, 2.3], [3.1, 0, 2.4]]),
        Atoms("SH", [[0, 0, 0], [0.5, 0.7, 1.0]]), Atoms("ZnH", [[0, 0, 0], [0.5, 0.7, 1.3]]),
    ],
    ids=str,
)  # fmt: skip
def test_splittings_do_not_change_when_the_molecule_turns_or_its_atoms_are_renumbered(atoms):
    """Levels of K in the metric of S; shells of tblite come in any order, and with polarisation functions."""
    elements = sorted({int(z) for z in atoms.numbers})
    method = TightBinding(with_parameters(EnergyBaseline("gfn2-xtb"), elements), spins=True)
    operators = [AtomicOperator(z, (1.0,), (float(z),), (), exchange=-0.01 * z**0.5) for z in elements]
    turned = atoms.copy()
    turned.positions = turned.positions @ Rotation.random(random_state=2).as_matrix().T * [1, 1, -1]
    shuffled = atoms[np.random.default_rng(0).permutation(len(atoms))]
    levels = []
    for a in (atoms, turned, shuffled):
        mole = mole_of(a, multiplicity=2)
        k = exchange_splitting(mole, operators, spin_of(method, a))
        levels.append(scipy.linalg.eigh(k, mole.intor("int1e_ovlp"), eigvals_only=True))
    assert levels[0].min() < -0.01
    np.testing.assert_allclose(levels[1], levels[0], atol=2e-7)
    np.testing.assert_allclose(levels[2], levels[0], atol=2e-7)


@pytest.mark.parametrize("number", [1, 6, 8, 11, 14, 16, 17, 22, 28, 30, 33, 34, 35, 47, 50, 53])
def test_functions_of_free_atoms_are_those_that_the_density_means(number):
    """Their overlaps with a neighbour have the signs of tblite's."""
    baseline = with_parameters(EnergyBaseline("gfn2-xtb"), sorted({1, number}))
    atoms = Atoms([number, 1], [[0.0, 0.0, 0.0], [0.3, 0.5, 0.3 + covalent_radii[number]]])
    unpaired = 2 - int(sum(atoms.numbers)) % 2
    spin = spin_of(TightBinding(baseline, spins=True), atoms, multiplicity=unpaired + 1)
    theirs = overlap_of(baseline, atoms, unpaired)[:, -1]  # with hydrogen's only function
    kept = [k for k, a in enumerate(spin.atoms) if module._is_valence(int(atoms.numbers[a]), spin, k)]
    kept.sort(key=lambda k: (spin.atoms[k], spin.degrees[k]))
    rows = np.concatenate([np.arange(len(theirs))[spin.rows_of(k)] for k in kept])
    mole = mole_of(atoms, multiplicity=unpaired + 1)
    shells = [(int(spin.atoms[k]), int(spin.degrees[k])) for k in kept]
    ours = module._overlap(mole, atoms.numbers, shells)[mole.aoslice_by_atom()[1, 2]]  # hydrogen's inner s
    seen = abs(theirs[rows]) > 0.05
    assert seen.sum() > 1
    np.testing.assert_array_equal(np.sign(ours[seen]), np.sign(theirs[rows][seen]))


def overlap_of(baseline, atoms, unpaired):
    """Overlap matrix of tblite's functions."""
    plain = Calculator(
        dict(baseline.parameters), atoms.numbers, atoms.positions / Bohr, 0.0, unpaired,
        color=False, logger=lambda _: None,
    )  # fmt: skip
    plain.set("verbosity", 0)
    plain.set("save-integrals", 1)
    return np.array(plain.singlepoint().get("overlap-matrix"))


def test_alpha_lies_below_beta_by_the_exchange_and_their_mean_is_the_baseline_of_a_closed_shell(
    method, operators
):
    atoms = radical()
    mole = mole_of(atoms, multiplicity=2)
    e0 = method(atoms.numbers, atoms.positions, 0, 2)
    both = canonical(mole, basis_of(mole), LEVEL, operators, e0)
    plain = tuple(replace(o, exchange=None) for o in operators)
    alone = baseline_of_spins(mole, basis_of(mole), LEVEL, Baseline("fitted", operators=plain), e0)
    assert alone.ndim == 2
    np.testing.assert_allclose(both.mean(0), alone, atol=1e-12)
    equal = tuple(replace(o, exchange=-0.05) for o in operators)
    alpha, beta = canonical(mole, basis_of(mole), LEVEL, equal, e0)
    values = np.linalg.eigvalsh(alpha - beta)
    assert values.max() < 1e-10
    assert values.min() < -0.02
    nothing = tuple(replace(o, exchange=0.0) for o in operators)
    np.testing.assert_allclose(canonical(mole, basis_of(mole), LEVEL, nothing, e0), [alone] * 2, atol=1e-12)


def test_it_stays_on_the_radical_when_a_molecule_is_far_away(method, operators):
    atoms = radical("CH3")
    water = molecule("H2O")
    water.translate([0, 0, 50])
    both = atoms + water
    alone = exchange_splitting(mole_of(atoms, multiplicity=2), operators, spin_of(method, atoms))
    together = exchange_splitting(mole_of(both, multiplicity=2), operators, spin_of(method, both))
    n = len(alone)
    np.testing.assert_allclose(together[:n, :n], alone, atol=1e-6)
    assert abs(together[n:]).max() < 1e-6


def test_a_fit_finds_the_numbers_that_made_the_matrices(method, operators, monkeypatch):
    monkeypatch.setattr(module, "PRIOR", 1e-5)
    fit = SplittingFit()
    for name in ("CH3CH2O", "CH3", "CH3O", "NH2", "OH", "C2H5", "HCO"):
        atoms = radical(name)
        mole, spin = mole_of(atoms, multiplicity=2), spin_of(method, atoms)
        k = exchange_splitting(mole, operators, spin)
        fit.add(mole, np.stack([k, -k]), spin)
    found = fit.solve(operators)
    assert [o.exchange for o in found] == pytest.approx([-0.01 * z for z in ELEMENTS], rel=1e-2)
    with pytest.raises(DatasetError, match="no labels of open shells"):
        SplittingFit().solve(operators)


def test_elements_of_which_labels_say_nothing_get_what_is_common(method, operators):
    fit = SplittingFit()
    atoms = radical("CH3")
    mole, spin = mole_of(atoms, multiplicity=2), spin_of(method, atoms)
    alike = [replace(o, exchange=-0.08) for o in operators]
    k = exchange_splitting(mole, alike, spin)
    fit.add(mole, np.stack([k, -k]), spin)
    assert [o.exchange for o in fit.solve(operators)] == pytest.approx([-0.08] * len(operators), abs=1e-6)


def test_a_missing_density_or_operator_is_said(method, operators):
    atoms = radical("CH3")
    mole = mole_of(atoms, multiplicity=2)
    with pytest.raises(SettingError, match="pass the spin density"):
        canonical(mole, basis_of(mole), LEVEL, operators, None)
    plain = TightBinding(method.baseline)(atoms.numbers, atoms.positions, 0, 2)
    with pytest.raises(SettingError, match="pass the spin density"):
        canonical(mole, basis_of(mole), LEVEL, operators, plain)
    with pytest.raises(BasisError, match="no exchange splitting of C"):
        exchange_splitting(mole, operators[:1], spin_of(method, atoms))


@pytest.mark.scf
def test_fitted_to_three_radicals_it_removes_most_of_the_splitting_of_another(method, operators):
    fit, numbers = SplittingFit(), {}
    for name in ("CH3", "CH3O", "OH", "C2H5"):
        atoms = radical(name)
        mole = mole_of(atoms, multiplicity=2)
        mf = dft.UKS(mole, xc="b3lyp").density_fit().run(verbose=0)
        numbers[name] = mole, mf.get_fock(), spin_of(method, atoms)
        if name != "C2H5":
            fit.add(*numbers[name])
    mole, fock, spin = numbers["C2H5"]
    wanted = 0.5 * (fock[0] - fock[1])
    left = wanted - exchange_splitting(mole, fit.solve(operators), spin)
    assert np.linalg.norm(left) < 0.75 * np.linalg.norm(wanted)
    s = mole.intor("int1e_ovlp")
    n_beta, mean = mole.nelec[1], fock.mean(0)

    def gap(k):
        alpha, beta = (scipy.linalg.eigh(mean + sign * k, s, eigvals_only=True) for sign in (1, -1))
        return min(alpha[n_beta + 1], beta[n_beta]) - max(alpha[n_beta], beta[n_beta - 1])

    assert abs(gap(wanted - left) - gap(wanted)) < 0.25 * abs(gap(0 * wanted) - gap(wanted))


def test_a_record_with_one_h0_for_each_spin_survives_the_cache(method, operators):
    atoms = radical("CH3")
    n = mole_of(atoms, multiplicity=2).nao
    h = np.stack([np.diag(np.linspace(-1, 1, n)), np.diag(np.linspace(-0.9, 1.1, n))])
    label = LabelledMolecule("x", atoms.numbers, atoms.positions, h, charge=0, multiplicity=2)
    split = Baseline("fitted", operators=operators, spins=True)
    settings = DerivationSettings(LEVEL, split, energy_baseline=method.baseline)
    derived = derive(label, settings)
    assert derived.baseline.shape == (2, n, n)
    again = settings.unpack(settings.pack(derived))
    np.testing.assert_array_equal(again.baseline, derived.baseline)
    np.testing.assert_array_equal(again.overlap, derived.overlap)
    plain = replace(derived, baseline=derived.baseline[0])
    np.testing.assert_array_equal(unpack(pack(plain), energy_baseline=True).baseline, plain.baseline)
    broken = settings.unpack(settings.pack(plain))  # a singlet of broken symmetry: two spins, one H0
    np.testing.assert_array_equal(broken.baseline, plain.baseline)
    np.testing.assert_array_equal(broken.orbitals, plain.orbitals)


def test_a_baseline_says_whether_its_operators_tell_spins_apart(operators):
    with pytest.raises(SettingError, match="spins is False"):
        Baseline("fitted", operators=operators)
    with pytest.raises(SettingError, match="'minao' is the same for both spins"):
        Baseline("minao", spins=True)
    with pytest.raises(SettingError, match="not finite"):
        replace(operators[0], exchange=float("nan"))
