"""Levels, filling, energies, gaps and densities of states: known bands, limits and derivatives."""

import numpy as np
import pytest
import torch
from ase.build import graphene, molecule

from helm_ase.electronic import ElectronicStructure
from helm_ase.electronic.band_filling import fill
from helm_ase.electronic.band_levels import levels, levels_at
from helm_ase.electronic.bands import Bands, gap_of
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.errors import BasisError, ChargeError, PredictionError, SettingError
from helm_ase.qc.molecule import ao_basis, build_mole, overlap
from helm_ase.representation import AOMatrix
from helm_ase.representation.kpoints import KMesh, band_path
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from shared.crystals import SP, chain, graphene_pi, kinetic_and_overlap, random_crystal, two_band_chain

SMEARINGS = ["fermi-dirac", "gaussian"]


def solve(matrix, size, electrons, width=0.0, smearing="fermi-dirac", make=KMesh.gamma_centred):
    return Bands.solve([LatticeOperator.of(matrix)], None, make(size), electrons, width, smearing)


# --- known bands --------------------------------------------------------------------------------------


def test_a_chain_has_the_bands_of_the_textbook():
    k = torch.linspace(-0.5, 0.5, 41, dtype=torch.float64)
    found = levels_at(LatticeOperator.of(chain(0.1)), None, torch.stack([k, 0 * k, 0 * k], 1))
    torch.testing.assert_close(found[:, 0], -0.2 * torch.cos(2 * np.pi * k), atol=1e-15, rtol=0)


def test_graphene_has_the_bands_of_the_textbook_and_a_dirac_point():
    rng = np.random.default_rng(5)
    k = rng.uniform(-0.5, 0.5, (20, 3))
    f = 0.1 * np.abs(1 + np.exp(2j * np.pi * k[:, 0]) + np.exp(2j * np.pi * k[:, 1]))
    h = LatticeOperator.of(graphene_pi(0.1))
    np.testing.assert_allclose(levels_at(h, None, torch.tensor(k)), np.stack([-f, f], 1), atol=1e-15)
    at_k = levels_at(h, None, torch.tensor([[1 / 3, 2 / 3, 0.0]], dtype=torch.float64))
    assert float(at_k[0, 1] - at_k[0, 0]) < 1e-15
    step = torch.tensor([[1 / 3 + 1e-5, 2 / 3 - 1e-5, 0.0]], dtype=torch.float64)
    slope = float(levels_at(h, None, step)[0, 1]) / 1e-5  # |∂f| along (1, −1): t 2π |ω − ω²|
    assert slope == pytest.approx(0.1 * 2 * np.pi * np.sqrt(3), rel=1e-4)


@pytest.mark.parametrize("size", [(6, 6, 1), (9, 9, 1)])
def test_graphene_is_gapless_where_the_mesh_holds_the_dirac_point(size):
    found = solve(graphene_pi(), size, 2)
    assert found.gap.fundamental < 1e-15
    assert abs(found.fermi_level) < 1e-15
    assert solve(graphene_pi(), (4, 4, 1), 2).gap.direct > 0.01


def test_gaps_of_a_crystal_that_is_indirect():
    found = solve(two_band_chain(1.0, 0.1), (8, 1, 1), 2)
    kpts = KMesh.gamma_centred((8, 1, 1)).kpts
    assert found.gap.fundamental == pytest.approx(0.6, abs=1e-12)
    assert found.gap.direct == pytest.approx(1.0, abs=1e-12)
    assert float(kpts[found.gap.highest_occupied, 0]) == -0.5
    assert float(kpts[found.gap.lowest_empty, 0]) == 0.0
    assert not found.gap.is_direct
    assert found.fermi_level == pytest.approx(0.5, abs=1e-12)


def test_overlapping_and_partly_filled_bands_have_no_gap():
    assert solve(two_band_chain(0.3, 0.1), (8, 1, 1), 2).gap.fundamental == 0.0
    assert solve(chain(), (8, 1, 1), 1).gap.fundamental == 0.0
    with pytest.raises(ChargeError, match="no gap"):
        gap_of(torch.zeros(1, 2, 3), 3.0)


def test_a_molecule_is_a_crystal_with_one_translation():
    atoms = molecule("H2O")
    basis = ao_basis("sto-3g", [1, 8])
    mole = build_mole(atoms.numbers, atoms.positions, "sto-3g")
    h = AOMatrix(mole.intor("int1e_kin") + mole.intor("int1e_nuc"), atoms.numbers, basis, "pyscf").reorder(
        "e3nn"
    )
    s = overlap(mole, basis)
    operators = [LatticeOperator.of(RealSpaceMatrix.of_molecule(m)) for m in (h, s)]
    for width in (0.0, 0.2):
        crystal = Bands.solve(operators[:1], operators[1], KMesh.gamma_centred((1, 1, 1)), 10, width)
        known = ElectronicStructure.solve(torch.tensor(h.values), torch.tensor(s.values), 10, smearing=width)
        torch.testing.assert_close(crystal.levels[:, 0], known.orbital_energies, atol=1e-11, rtol=0)
        torch.testing.assert_close(crystal.occupations[:, 0], known.occupations, atol=1e-9, rtol=0)
        assert crystal.fermi_level == pytest.approx(known.fermi_level, abs=1e-10)
        assert crystal.entropy == pytest.approx(known.entropy, abs=1e-9)
        assert crystal.gap.fundamental == pytest.approx(known.gap, abs=1e-10)


def test_time_reversal_and_supercells_leave_energies_per_atom():
    _, h, s = kinetic_and_overlap("honeycomb")
    found = [
        Bands.solve([LatticeOperator.of(a)], LatticeOperator.of(b), KMesh.gamma_centred(n, tr), e, 0.05)
        for a, b, n, tr, e in (
            (h, s, (4, 4, 1), True, 8),
            (h, s, (4, 4, 1), False, 8),
            (h.supercell((2, 2, 1)), s.supercell((2, 2, 1)), (2, 2, 1), True, 32),
        )
    ]
    for other, times in ((found[1], 1), (found[2], 4)):
        assert other.fermi_level == pytest.approx(found[0].fermi_level, abs=1e-10)
        assert float(other.free_energy) == pytest.approx(times * float(found[0].free_energy), abs=1e-9)
        assert other.entropy == pytest.approx(times * found[0].entropy, abs=1e-9)


def test_bands_along_a_path_are_those_of_its_points():
    wide = LatticeOperator.of(
        graphene_pi(0.1).recelled([[1, 0, 0], [-1, 1, 0], [0, 0, 1]])
    )  # from 60° to 120°
    path = band_path(Lattice.of_atoms(graphene(vacuum=5.0)), "GMKG", 40)
    found = levels_at(wide, None, path.kpts)
    assert found.shape == (40, 2)
    assert gap_of(found[None], 1.0).fundamental < 0.02  # K lies between two points of the path, or is one
    corner = levels_at(wide, None, [path.special_points["K"]])
    assert float(corner.abs().max()) < 1e-15
    with pytest.raises(SettingError, match="k points of shape"):
        levels_at(wide, None, path.kpts[0])


# --- nearly dependent functions -------------------------------------------------------------------------


def test_dependent_functions_are_dropped_where_they_are_dependent():
    """Two equal functions a cell, then two whose overlap is one at Γ only."""
    m = chain(0.1)
    t = m.translations
    twice = RealSpaceMatrix(t, np.kron(m.values, np.ones((2, 2))), np.array([1, 1]), m.basis)
    s = np.zeros((3, 2, 2))
    s[1] = 1.0
    overlap = LatticeOperator(torch.tensor(t), torch.tensor(s))
    k = KMesh.gamma_centred((5, 1, 1)).kpts
    found = levels_at(LatticeOperator.of(twice), overlap, k)
    torch.testing.assert_close(found[:, :1], levels_at(LatticeOperator.of(m), None, k), atol=1e-12, rtol=0)
    assert bool(torch.isinf(found[:, 1]).all())
    s[1], s[0, 0, 1], s[2, 1, 0] = [[1.0, 0.5], [0.5, 1.0]], 0.5, 0.5
    overlap = LatticeOperator(torch.tensor(t), torch.tensor(s))
    assert torch.isinf(levels_at(LatticeOperator.of(twice), overlap, k)).sum(1).tolist() == [1, 0, 0]
    bands = Bands.solve([LatticeOperator.of(twice)], overlap, KMesh.gamma_centred((5, 1, 1)), 1, 0.01)
    assert np.isfinite(float(bands.free_energy))
    assert np.isfinite(bands.density_of_states(torch.linspace(-1, 1, 5), 0.1).numpy()).all()


def test_an_overlap_that_is_none_is_refused():
    m = LatticeOperator.of(chain(0.1))
    with pytest.raises(BasisError, match="must be positive"):
        levels_at(m, m, torch.zeros(1, 3, dtype=torch.float64))
    with pytest.raises(BasisError, match="H has 1 functions, S has 2"):
        levels_at(m, LatticeOperator.of(graphene_pi()), torch.zeros(1, 3, dtype=torch.float64))
    broken = LatticeOperator(m.translations, m.values * torch.nan)
    with pytest.raises(PredictionError, match="not finite"):
        levels_at(broken, None, torch.zeros(1, 3, dtype=torch.float64))


# --- Fermi level, entropy and their limits --------------------------------------------------------------


@pytest.mark.parametrize("smearing", SMEARINGS)
@pytest.mark.parametrize("width", [0.1, 1e-3, 1e-6, 1e-9])
def test_the_fermi_level_of_an_insulator_goes_to_the_middle_of_the_gap(width, smearing):
    found = solve(two_band_chain(1.0, 0.1), (8, 1, 1), 2, width, smearing)
    assert float(found.occupations.mean()) == pytest.approx(1.0, abs=1e-12)
    assert found.fermi_level == pytest.approx(0.5, abs=1e-12)  # the bands mirror each other
    if width <= 1e-3:
        assert found.entropy < 1e-12
        assert float(found.free_energy) == pytest.approx(float(found.band_energy), abs=1e-12)


@pytest.mark.parametrize("smearing", SMEARINGS)
def test_levels_of_unequal_number_shift_a_cold_fermi_level_by_the_logarithm_of_their_ratio(smearing):
    e, w = np.array([0.0, 1.0]), np.array([1.0, 3.0])
    mu = fill(e, w, 1.0, 1e-3, smearing).fermi_level
    expected = 0.5 - 0.5e-3 * np.log(3) if smearing == "fermi-dirac" else 0.5
    assert mu == pytest.approx(expected, abs=1e-9 if smearing == "fermi-dirac" else 1e-5)


@pytest.mark.parametrize("smearing", SMEARINGS)
def test_the_fermi_level_of_a_metal_goes_to_that_of_the_textbook(smearing):
    """A chain with half an electron: −2 t cos(2π/8); entropy falls linearly with the width."""
    found = [solve(chain(0.1), (2000, 1, 1), 0.5, w, smearing) for w in (2e-3, 1e-3)]
    for bands in found:
        assert bands.fermi_level == pytest.approx(-0.2 * np.cos(np.pi / 4), abs=1e-4)
        assert float((bands._weights * bands.occupations).sum()) == pytest.approx(0.5, abs=1e-12)
    assert found[0].entropy == pytest.approx(2 * found[1].entropy, rel=0.01)


def test_half_filled_flat_levels_have_the_entropy_of_a_coin():
    e, w = np.zeros(4), np.full(4, 0.25)
    assert fill(e, w, 0.5, 0.01).entropy == pytest.approx(np.log(2), abs=1e-14)
    assert fill(e, w, 0.5, 0.01, "gaussian").entropy == pytest.approx(0.5 / np.sqrt(np.pi), abs=1e-14)


@pytest.mark.parametrize("smearing", SMEARINGS)
def test_the_free_energy_falls_with_the_width_by_the_entropy(smearing):
    m = random_crystal(np.random.default_rng(3))
    up, mid, down = (solve(m, (3, 3, 2), 3.3, w, smearing) for w in (0.0401, 0.04, 0.0399))
    slope = float(up.free_energy - down.free_energy) / 2e-4
    assert slope == pytest.approx(-mid.entropy, rel=1e-5)


@pytest.mark.parametrize("smearing", SMEARINGS)
def test_slopes_are_derivatives_of_occupations(smearing):
    e = np.linspace(-0.1, 0.1, 9)
    w = np.full(9, 1 / 9)
    found = fill(e, w, 0.4, 0.03, smearing)
    x = np.array([-1e-6, 1e-6])
    for n in range(9):
        if smearing == "fermi-dirac":
            f = 1 / (1 + np.exp((e[n] + x - found.fermi_level) / 0.03))
        else:
            f = 0.5 * (1 - torch.erf(torch.tensor((e[n] + x - found.fermi_level) / 0.03)).numpy())
        assert found.slopes[n] == pytest.approx((f[1] - f[0]) / 2e-6, rel=1e-6, abs=1e-10)


def test_without_smearing_levels_that_coincide_share_their_electrons():
    e = np.array([[-1.0, 0.0], [0.0, 0.5]])
    found = fill(e, np.full((2, 2), 0.5), 1.0)
    np.testing.assert_allclose(found.occupations, [[1.0, 0.5], [0.5, 0.0]])
    assert found.fermi_level == 0.0
    np.testing.assert_allclose(fill(e, np.full((2, 2), 0.5), 0.75).occupations, [[1.0, 0.25], [0.25, 0.0]])


def test_full_and_empty_bands_and_too_many_electrons():
    e, w = np.array([0.0, 1.0]), np.ones(2)
    assert fill(e, w, 0.0, 0.1).fermi_level == -np.inf
    full = fill(e, w, 2.0, 0.1)
    assert full.fermi_level == np.inf
    np.testing.assert_array_equal(full.occupations, 1.0)
    for width in (0.0, 0.1):
        assert fill(e, w, 2.0, width).entropy == fill(e, w, 0.0, width).entropy == 0.0
    with pytest.raises(ChargeError, match="do not fit"):
        fill(e, w, 2.1, 0.1)
    with pytest.raises(SettingError, match="width in Hartree"):
        fill(e, w, 1.0, -0.1)
    with pytest.raises(SettingError, match="not a smearing"):
        fill(e, w, 1.0, 0.1, "methfessel-paxton")


def test_both_spins_share_one_fermi_level():
    m = chain(0.1)
    up = LatticeOperator.of(m)
    shift = torch.zeros_like(up.values)
    shift[1] = 0.3
    down = LatticeOperator(up.translations, up.values + shift)
    mesh = KMesh.gamma_centred((10, 1, 1))
    same = Bands.solve([up, up], None, mesh, 1, 0.02)
    closed = Bands.solve([up], None, mesh, 1, 0.02)
    assert float(same.free_energy) == pytest.approx(float(closed.free_energy), abs=1e-13)
    assert same.entropy == pytest.approx(closed.entropy, abs=1e-12)
    split = Bands.solve([up, down], None, mesh, 1, 1e-4)
    moment = (split._weights * split.occupations).sum((1, 2))
    assert float(moment[0] - moment[1]) > 0.39
    assert float(moment.sum()) == pytest.approx(1.0, abs=1e-12)


def test_records_that_make_no_sense_are_refused():
    with pytest.raises(SettingError, match="weights"):
        Bands(torch.zeros(1, 2, 3), torch.ones(2), 1)
    with pytest.raises(SettingError, match="levels of shape"):
        Bands(torch.zeros(2, 3), torch.ones(2), 1)
    with pytest.raises(ChargeError, match="electrons in a cell"):
        Bands(torch.zeros(1, 1, 3), torch.ones(1), -1)


# --- derivatives with respect to H(T) -------------------------------------------------------------------


def directional(function, matrix, direction, step=1e-5):
    """Central difference of a function of the blocks along a direction of them."""
    values = torch.tensor(matrix.values)
    up, down = (function(values + sign * step * direction) for sign in (1, -1))
    return float(up - down) / (2 * step)


@pytest.mark.parametrize("quantity", ["band_energy", "free_energy"])
@pytest.mark.parametrize("smearing", SMEARINGS)
@pytest.mark.parametrize("which", ["random", "dirac", "overlap"])
def test_gradients_of_energies_are_finite_differences(which, smearing, quantity):
    rng = np.random.default_rng(11)
    s, electrons = None, 3.0
    if which == "overlap":
        _, m, s = kinetic_and_overlap("honeycomb")
        s, electrons = LatticeOperator.of(s), 8.0
    else:
        m = graphene_pi() if which == "dirac" else random_crystal(rng, basis=SP)
        electrons = 2.0 if which == "dirac" else 3.0
    noise = rng.normal(size=m.values.shape)
    direction = torch.tensor(0.1 * (noise + noise[::-1].transpose(0, 2, 1)))

    def energy(values):
        h = LatticeOperator(torch.tensor(m.translations), values)
        return getattr(
            Bands.solve([h], s, KMesh.gamma_centred((3, 3, 1)), electrons, 0.03, smearing), quantity
        )

    values = torch.tensor(m.values, requires_grad=True)
    energy(values).backward()
    assert float((values.grad * direction).sum()) == pytest.approx(
        directional(energy, m, direction), rel=1e-6, abs=1e-9
    )
    torch.testing.assert_close(values.grad, values.grad.flip(0).mT, atol=1e-12, rtol=0)


def test_gradients_of_levels_are_finite_differences_and_mean_values_where_bands_cross():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 5, 5)) + 1j * rng.normal(size=(3, 5, 5))
    h = torch.tensor(x + x.conj().transpose(0, 2, 1), requires_grad=True)
    weights = torch.tensor(rng.normal(size=(3, 5)))
    (levels(h) * weights).sum().backward()
    y = rng.normal(size=(3, 5, 5)) + 1j * rng.normal(size=(3, 5, 5))
    d = torch.tensor(y + y.conj().transpose(0, 2, 1))
    step = 1e-6
    numeric = float(((levels(h.detach() + step * d) - levels(h.detach() - step * d)) * weights).sum()) / (
        2 * step
    )
    assert float((h.grad.conj() * d).real.sum()) == pytest.approx(numeric, rel=1e-7)
    flat = torch.zeros(1, 2, 2, dtype=torch.complex128, requires_grad=True)
    levels(flat)[0, 0].backward()
    torch.testing.assert_close(flat.grad[0], 0.5 * torch.eye(2, dtype=torch.complex128))


# --- density of states ----------------------------------------------------------------------------------


def test_the_density_of_states_counts_states():
    bands = solve(random_crystal(np.random.default_rng(3)), (3, 3, 3), 4)
    grid = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    curve = bands.density_of_states(grid, 0.02)
    assert curve.shape == (1, 4001)
    assert float(torch.trapezoid(curve[0], grid)) == pytest.approx(2 * bands.levels.shape[2], rel=1e-6)
    with pytest.raises(SettingError, match="width"):
        bands.density_of_states(grid, 0.0)


def test_the_density_of_states_of_a_chain_is_that_of_the_textbook():
    """2 / (π √(4 t² − E²)) states per Hartree, both spins; far from the edges."""
    bands = solve(chain(0.1), (4000, 1, 1), 1)
    e = torch.tensor([-0.1, 0.0, 0.05], dtype=torch.float64)
    expected = 2 / (np.pi * np.sqrt(0.04 - e.numpy() ** 2))
    np.testing.assert_allclose(bands.density_of_states(e, 2e-3)[0].numpy(), expected, rtol=1e-3)
