"""Observables: laws for any density, then PySCF's numbers for the same one."""

import copy

import numpy as np
import pytest
import torch
from ase.build import molecule
from pyscf import dft, lo, scf
from pyscf.scf import addons
from scipy.spatial.transform import Rotation

from helm_ase.electronic import ElectronicStructure
from helm_ase.electronic.occupations import fermi_occupations
from helm_ase.errors import BasisError, ChargeError, PredictionError, SettingError
from helm_ase.qc.integrals import MoleIntegrals
from helm_ase.qc.molecule import build_mole

WATER = np.array([[0.02, 0.0, 0.11], [0.05, 0.76, -0.47], [-0.03, -0.75, -0.48]])
AMMONIUM = 0.59 * np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
CASES = {
    "water": (build_mole([8, 1, 1], WATER, "def2-svp"), "pbe"),
    "hydroxyl": (build_mole([8, 1], WATER[:2], "def2-svp", multiplicity=2), "b3lyp"),
    "ammonium": (build_mole([7, 1, 1, 1, 1], AMMONIUM + 0.3, "sto-3g", charge=1), "pbe"),
    "oxygen atom": (build_mole([8], np.zeros((1, 3)) + 0.2, "def2-svp", multiplicity=3), "pbe"),
    "hydrogen atom": (build_mole([1], np.zeros((1, 3)), "def2-svp", multiplicity=2), "pbe"),
    "iodide (ECP)": (build_mole([53], np.zeros((1, 3)), "def2-svp", charge=-1), "pbe"),
}
"""Name → molecule and functional; charged, open-shell and single-atom ones among them."""


class Solved:
    """A converged PySCF calculation, its orbitals once more, and ours of the same matrix."""

    def __init__(self, mole, functional):
        self.mf = (dft.RKS if mole.spin == 0 else dft.UKS)(mole, xc=functional)
        self.mf.grids.level = 0
        self.mf.kernel()
        self.mole, self.fock, self.s = mole, self.mf.get_fock(), self.mf.get_ovlp()
        self.energies, self.orbitals = self.mf.eig(self.fock, self.s)
        self.occupations = self.mf.get_occ(self.energies, self.orbitals)
        self.densities = np.asarray(self.mf.make_rdm1(self.orbitals, self.occupations))
        self.density = self.densities if self.densities.ndim == 2 else self.densities.sum(0)
        self.ours = self.solve()

    def solve(self, **options):
        return ElectronicStructure.solve(
            torch.tensor(np.asarray(self.fock)), torch.tensor(self.s), self.mole.nelectron,
            self.mole.multiplicity, integrals=MoleIntegrals(self.mole), **options,
        )  # fmt: skip


@pytest.fixture(scope="module")
def solved():
    known = {}

    def find(name):
        if name not in known:
            known[name] = Solved(*CASES[name])
        return known[name]

    return find


def close(ours, theirs, atol=1e-8):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=atol)


# --- laws ---------------------------------------------------------------------------------------------


def test_fermi_occupations_hold_the_electrons_and_become_steps_when_cold(rng):
    levels = torch.from_numpy(np.sort(rng.normal(size=9)))
    for temperature in (1e-6, 1e-2, 1.0, 100.0):
        f, mu = fermi_occupations(levels, 4, temperature)
        assert abs(float(f.sum()) - 4) < 1e-12
        assert ((f >= 0) & (f <= 1) & (f.diff(append=f[-1:]) <= 0)).all()
        close(f, 1 / (1 + np.exp(np.minimum((levels.numpy() - mu) / temperature, 700))), 1e-12)
    cold, _ = fermi_occupations(levels, 4, 1e-6)
    close(cold, [1, 1, 1, 1, 0, 0, 0, 0, 0], 1e-12)
    assert fermi_occupations(levels, 0, 0.1)[0].sum() == 0
    assert fermi_occupations(levels, 9, 0.1)[0].sum() == 9
    with pytest.raises(ChargeError, match="10 electrons"):
        fermi_occupations(levels, 10, 0.1)


@pytest.mark.parametrize("levels", [[-2.0, -1.0, -0.5, 0.1, 0.4], [-2.0, -0.5, -0.5, -0.5, 1.0]])
def test_gradients_with_smearing_are_exact_also_where_levels_coincide(rng, levels):
    turn = torch.from_numpy(np.linalg.qr(rng.normal(size=(5, 5)))[0])
    h = turn @ torch.diag(torch.tensor(levels, dtype=torch.float64)) @ turn.T
    weights = torch.from_numpy(rng.normal(size=(5, 5)))
    direction = torch.from_numpy(rng.normal(size=(5, 5)))
    direction = direction + direction.T

    def value(x):
        found = ElectronicStructure.solve(x, torch.eye(5), 4, smearing=0.2)
        return (found.density_matrix * weights).sum()

    x = h.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(x), x)
    numeric = (value(h + 1e-4 * direction) - value(h - 1e-4 * direction)) / 2e-4
    third = (value(h + 2e-4 * direction) - value(h - 2e-4 * direction)) / 4e-4
    numeric = (4 * numeric - third) / 3
    assert abs(float((gradient * direction).sum() - numeric)) < 1e-8 * max(1, abs(float(numeric)))


@pytest.mark.parametrize("quantity", ["density", "dipole", "charges", "bond_orders", "levels"])
def test_quantities_of_a_structure_have_gradients(solved, quantity, rng):
    water = solved("water")
    weights = {}

    def value(h):
        found = ElectronicStructure.solve(h, water.ours.overlap, 10, integrals=water.ours.integrals)
        given = {
            "density": lambda: found.density_matrix, "dipole": found.dipole,
            "charges": lambda: found.charges("lowdin"),
            "bond_orders": found.bond_orders, "levels": lambda: found.orbital_energies,
        }[quantity]()  # fmt: skip
        w = weights.setdefault("w", torch.from_numpy(rng.normal(size=tuple(given.shape))))
        return (given * w).sum()

    h = water.ours.hamiltonian[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(h), h)
    direction = torch.from_numpy(rng.normal(size=tuple(h.shape)))
    direction = 0.1 * (direction + direction.T)
    with torch.no_grad():
        steps = [value(h + k * 1e-4 * direction) - value(h - k * 1e-4 * direction) for k in (1, 2)]
    numeric = (8 * steps[0] - steps[1]) / 12e-4
    assert abs(float((gradient * direction).sum() - numeric)) < 1e-6 * max(1.0, abs(float(numeric)))


def test_moments_turn_and_shift_as_they_must(solved):
    water = solved("ammonium")
    origin = torch.tensor([0.3, -0.2, 0.5])
    shift = origin - water.ours.origin()
    close(water.ours.dipole(origin), (water.ours.dipole() - shift).numpy(), 1e-10)  # its charge is 1
    assert abs(float(water.ours.quadrupole().trace())) < 1e-12
    close(water.ours.quadrupole(), np.zeros((3, 3)), 1e-6)  # a tetrahedron has none about its centre


def test_projections_on_atoms_sum_to_the_total(solved):
    for name in ("water", "ammonium", "hydroxyl", "iodide (ECP)"):
        case = solved(name)
        for scheme in ("mulliken", "lowdin"):
            assert abs(float(case.ours.charges(scheme).sum()) - case.mole.charge) < 1e-9
            assert abs(float(case.ours.spin_populations(scheme).sum()) - case.mole.spin) < 1e-9
        grid = torch.linspace(-40, 10, 4001, dtype=torch.float64)
        whole = case.ours.density_of_states(grid, 0.1)
        for by in ("atom", "degree"):
            close(case.ours.density_of_states(grid, 0.1, by).sum(1), whole.numpy(), 1e-10)
        sharp = case.ours.density_of_states(grid, 0.02)
        below = grid < case.ours.fermi_level
        if name in ("water", "ammonium"):  # with a gap of many widths
            counted = torch.trapezoid(sharp[:, below].sum(0), grid[below])
            assert abs(float(counted) - case.mole.nelectron) < 0.05


def test_bonds_of_minimal_molecules_are_whole_numbers():
    for numbers, length, order in (([1, 1], 0.74, 1), ([7, 7], 1.1, 3)):
        mole = build_mole(numbers, np.array([[0, 0, 0], [0.1, 0.2, length]]), "sto-3g")
        mf = scf.RHF(mole).run(verbose=0)
        found = ElectronicStructure.solve(
            torch.tensor(mf.get_fock()), torch.tensor(mf.get_ovlp()), mole.nelectron,
            integrals=MoleIntegrals(mole),
        )  # fmt: skip
        assert abs(float(found.bond_orders("mayer")[0, 1]) - order) < 0.02
        assert abs(float(found.bond_orders("wiberg")[0, 1]) - order) < 0.1
        assert (found.bond_orders().diagonal() == 0).all()


def test_an_open_shell_treatment_of_a_closed_shell_changes_nothing(solved):
    water = solved("water")
    two = ElectronicStructure.solve(
        water.ours.hamiltonian.expand(2, -1, -1), water.ours.overlap, 10, integrals=water.ours.integrals
    )
    for quantity in ("charges", "bond_orders", "dipole", "quadrupole", "uncoupled_polarizability"):
        close(getattr(two, quantity)(), getattr(water.ours, quantity)().numpy(), 1e-10)
    close(two.bond_orders("wiberg"), water.ours.bond_orders("wiberg").numpy(), 1e-10)
    grid = torch.linspace(-2, 2, 50)
    close(two.density_of_states(grid, 0.1).sum(0), water.ours.density_of_states(grid, 0.1)[0].numpy(), 1e-10)


# --- numbers ------------------------------------------------------------------------------------------


@pytest.mark.scf
@pytest.mark.parametrize("name", CASES)
def test_levels_density_moments_and_charges_are_those_of_pyscf(solved, name):
    case = solved(name)
    ours, mf, mole = case.ours, case.mf, case.mole
    close(ours.orbital_energies.numpy().squeeze(), np.asarray(case.energies))
    close(ours.occupations.numpy().squeeze(), np.asarray(case.occupations))
    close(
        ours.spin_densities.numpy().squeeze(0) if ours.n_spins == 1 else ours.spin_densities, case.densities
    )
    zero = torch.zeros(3)
    close(ours.dipole(zero), mf.dip_moment(mole, case.densities, unit="AU", origin=(0, 0, 0), verbose=0))
    close(ours.quadrupole(zero), mf.quad_moment(mole, case.densities, unit="AU", origin=(0, 0, 0), verbose=0))
    close(ours.charges(), mf.mulliken_pop(mole, case.densities, case.s, verbose=0)[1])
    inverse = np.linalg.inv(lo.orth.lowdin(case.s))
    populations = np.diag(inverse @ case.density @ inverse.T)
    atoms = [populations[a:b].sum() for *_, a, b in mole.aoslice_by_atom()]
    close(ours.charges("lowdin"), mole.atom_charges() - atoms)


@pytest.mark.scf
@pytest.mark.parametrize("name", ["water", "hydroxyl"])
def test_bond_orders_are_those_of_the_definition(solved, name):
    case = solved(name)
    root = np.linalg.inv(lo.orth.lowdin(case.s))
    densities = case.densities.reshape(-1, *case.s.shape)
    slices = [slice(a, b) for *_, a, b in case.mole.aoslice_by_atom()]
    for a, here in enumerate(slices):
        for b, there in enumerate(slices[:a]):
            mayer = wiberg = 0.0
            for d in densities:
                ds, p = d @ case.s, root @ d @ root.T
                mayer += len(densities) * (ds[here, there] * ds[there, here].T).sum()
                wiberg += len(densities) * (p[here, there] ** 2).sum()
            assert abs(float(case.ours.bond_orders("mayer")[a, b]) - mayer) < 1e-8
            assert abs(float(case.ours.bond_orders("wiberg")[b, a]) - wiberg) < 1e-8


@pytest.mark.scf
@pytest.mark.parametrize("name", ["water", "hydroxyl"])
def test_uncoupled_polarizability_is_the_response_of_one_diagonalisation(solved, name):
    case = solved(name)
    with case.mole.with_common_orig((0, 0, 0)):
        r = case.mole.intor("int1e_r")
    found = np.zeros((3, 3))
    for axis in range(3):
        moments = []
        for sign in (1, -1):
            field = case.fock + sign * 1e-4 * r[axis]
            e, c = case.mf.eig(field, case.s)
            density = np.asarray(case.mf.make_rdm1(c, case.mf.get_occ(e, c))).reshape(-1, *case.s.shape)
            moments.append(-np.einsum("xab,sab->x", r, density))
        found[axis] = (moments[0] - moments[1]) / 2e-4
    close(case.ours.uncoupled_polarizability(), found, 1e-5)


@pytest.mark.scf
@pytest.mark.parametrize("name", ["water", "hydroxyl", "iodide (ECP)"])
def test_fields_at_points_are_those_of_pyscf(solved, name, rng):
    case = solved(name)
    points = rng.normal(size=(7, 3)) * 2
    values = case.mole.eval_gto("GTOval_sph", points)
    close(case.ours.density_at(points), np.einsum("pa,ab,pb->p", values, case.density, values))
    c = np.asarray(case.orbitals).reshape(-1, *case.s.shape)[-1]
    for index in (0, case.ours.occupied[-1]):
        ours = case.ours.orbital_at(points, index, spin=case.ours.n_spins - 1)
        degenerate = case.ours.orbital_energies[-1] - case.ours.orbital_energies[-1, index]
        if (degenerate.abs() < 1e-6).sum() == 1:
            close(ours.abs(), np.abs(values @ c[:, index]), 1e-7)
    expected = []
    for point in points:
        with case.mole.with_rinv_origin(point):
            electrons = (case.mole.intor("int1e_rinv") * case.density).sum()
        distance = np.linalg.norm(case.mole.atom_coords() - point, axis=1)
        expected.append((case.mole.atom_charges() / distance).sum() - electrons)
    close(case.ours.potential_at(points), expected)


@pytest.mark.scf
@pytest.mark.parametrize("name", ["water", "hydroxyl", "oxygen atom"])
def test_smeared_occupations_are_those_of_pyscf(solved, name):
    case = solved(name)
    for temperature in (0.005, 0.1):
        smeared = addons.smearing(case.mf, sigma=temperature, method="fermi", fix_spin=True)
        occupations = smeared.get_occ(np.asarray(case.energies), np.asarray(case.orbitals))
        ours = case.solve(smearing=temperature)
        close(ours.occupations.numpy().squeeze(), np.asarray(occupations), 1e-7)
        density = np.asarray(case.mf.make_rdm1(case.orbitals, occupations))
        close(ours.spin_densities.numpy().squeeze(), density, 1e-6)
        assert abs(float((ours.density_matrix * ours.overlap).sum()) - case.mole.nelectron) < 1e-9
        assert abs(ours.entropy - smeared.entropy) < 1e-5
    assert case.ours.entropy == 0
    for n, levels in zip(case.ours.occupied, case.ours.orbital_energies, strict=True):
        _, mu = fermi_occupations(levels, n, 1e-4)
        if (
            levels[n] - levels[n - 1] > 0.1
            and levels[n + 1] - levels[n] > 0.01 < levels[n - 1] - levels[n - 2]
        ):
            assert abs(mu - float(levels[n] + levels[n - 1]) / 2) < 1e-3  # the limit of the cold


@pytest.mark.scf
def test_a_turned_molecule_has_turned_observables(solved):
    _, functional = CASES["water"]
    turn = Rotation.random(random_state=2).as_matrix()
    turned = Solved(build_mole([8, 1, 1], WATER @ turn.T, "def2-svp"), functional)
    plain = solved("water")
    close(turned.ours.dipole(), turn @ plain.ours.dipole().numpy(), 2e-3)  # of the coarse grid
    close(turned.ours.quadrupole(), turn @ plain.ours.quadrupole().numpy() @ turn.T, 5e-3)


# --- near-dependent functions -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def acetylene():
    """Fock matrix and overlap in a basis with diffuse functions, whose smallest eigenvalue is 1.5e-6."""
    atoms = molecule("C2H2")
    mole = build_mole(atoms.numbers, atoms.positions, "def2-tzvpd")
    mf = dft.RKS(mole, xc="pbe")
    mf.grids.level = 0
    fock, s = mf.get_fock(dm=mf.get_init_guess()), mf.get_ovlp()
    assert 1e-6 < np.linalg.eigvalsh(s)[0] < 1e-5
    return mf, fock, s


@pytest.mark.scf
@pytest.mark.filterwarnings("ignore:remove_linear_dep_ is deprecated:DeprecationWarning")
def test_nearly_dependent_functions_are_dropped_as_pyscf_drops_them(acetylene):
    mf, fock, s = acetylene
    careful = addons.remove_linear_dep_(copy.copy(mf), threshold=1e-5, lindep=1e-5)
    energies, _ = careful.eig(fock, s)
    ours = ElectronicStructure.solve(torch.tensor(fock), torch.tensor(s), 14, threshold=1e-5)
    assert ours.orbital_energies.shape[1] == len(s) - 1
    close(ours.orbital_energies[0], energies)
    assert abs(float((ours.density_matrix * ours.overlap).sum()) - 14) < 1e-9


@pytest.mark.scf
def test_an_error_along_a_nearly_dependent_direction_makes_no_ghost_state(acetylene):
    _, fock, s = acetylene
    direction = np.linalg.eigh(s)[1][:, 0]
    wrong = torch.tensor(fock - 3e-5 * np.outer(direction, direction))  # 30 µEh
    ghost = ElectronicStructure.solve(wrong, torch.tensor(s), 14, threshold=1e-6)
    safe = ElectronicStructure.solve(wrong, torch.tensor(s), 14)
    plain = ElectronicStructure.solve(torch.tensor(fock), torch.tensor(s), 14)
    assert float(ghost.orbital_energies[0, 0]) < float(plain.orbital_energies[0, 0]) - 5
    close(safe.orbital_energies, plain.orbital_energies.numpy(), 1e-4)
    whole = ElectronicStructure.solve(torch.tensor(fock), torch.tensor(s), 14, threshold=1e-6)
    close(plain.orbital_energies[0, :7], whole.orbital_energies[0, :7].numpy(), 2e-5)  # the price


# --- what cannot be -----------------------------------------------------------------------------------


def test_what_cannot_be_is_refused(solved):
    water = solved("water")
    bare = ElectronicStructure.solve(water.ours.hamiltonian, water.ours.overlap, 10)
    with pytest.raises(BasisError, match="needs the geometry"):
        bare.charges()
    with pytest.raises(SettingError, match="'hirshfeld' is not a charge scheme; there are mulliken, lowdin"):
        water.ours.charges("hirshfeld")
    with pytest.raises(SettingError, match="'coulson' is not a bond order"):
        water.ours.bond_orders("coulson")
    with pytest.raises(SettingError, match="'shell' is not a projection of the density of states"):
        water.ours.density_of_states(torch.zeros(3), 0.1, "shell")
    with pytest.raises(SettingError, match="width is 0"):
        water.ours.density_of_states(torch.zeros(3), 0)
    with pytest.raises(SettingError, match="there are 24 orbitals, 0 to 23"):
        water.ours.orbital_at(torch.zeros(1, 3), 24)
    for field in (water.ours.density_at, water.ours.potential_at, water.ours.spin_density_at):
        with pytest.raises(SettingError, match=r"shape \(3,\)"):
            field(torch.zeros(3))
    skewed = water.ours.hamiltonian[0].clone()
    skewed[0, 3] += 0.1
    with pytest.raises(BasisError, match="not symmetric"):
        ElectronicStructure.solve(skewed, water.ours.overlap, 10)
    with pytest.raises(SettingError, match="smearing is -1"):
        water.solve(smearing=-1.0)
    with pytest.raises(PredictionError, match="full and empty"):
        water.solve(smearing=0.1).uncoupled_polarizability()
