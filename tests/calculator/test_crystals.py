"""Crystals behind ASE: bands, Fermi level, stress, what counts as a change, and what is refused."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.linalg
from ase import Atoms
from ase.build import graphene, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.dft.bandgap import bandgap
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.spectrum.band_structure import BandStructure
from scipy.spatial.transform import Rotation

from helm_ase import HELMCalculator, predict_many
from helm_ase.checkpoint.format import save_checkpoint
from helm_ase.errors import ChargeError, SettingError, StructureError, UntrainedError
from helm_ase.prediction.crystals import mesh_of
from helm_ase.representation.lattice import Lattice
from helm_ase.units import HARTREE_IN_EV
from shared.crystal_labels import chain, checkpoint
from shared.deviations import largest

pytestmark = pytest.mark.filterwarnings("ignore::helm_ase.ExtrapolationWarning")


def bulk(seed=0):
    atoms = Atoms(
        "C2", [[0, 0, 0], [0.9, 0.9, 0.9]], cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True
    )
    atoms.rattle(0.05, seed=seed)
    return atoms


def with_calculator(atoms, crystal_model, **keywords):
    atoms.calc = HELMCalculator(model=crystal_model, dtype="float64", **({"kpts": (4, 1, 1)} | keywords))
    return atoms


# --- levels -------------------------------------------------------------------------------------------


def test_getters_of_ase_see_the_mesh(crystal_model):
    atoms = with_calculator(chain(), crystal_model)
    calc = atoms.calc
    assert calc.get_ibz_k_points().tolist() == [[0, 0, 0], [0.25, 0, 0], [-0.5, 0, 0]]
    assert calc.get_k_point_weights().tolist() == [0.25, 0.5, 0.25]
    assert calc.get_bz_k_points().shape == (4, 3)
    assert calc.get_number_of_spins() == 1
    levels = calc.get_eigenvalues(kpt=1, spin=0)
    assert levels.shape == (8,)
    assert (np.diff(levels) >= 0).all()
    electrons = sum(w * calc.get_occupation_numbers(k).sum() for k, w in enumerate((0.25, 0.5, 0.25)))
    assert electrons == pytest.approx(8)
    gap, *_ = bandgap(calc, output=None)
    assert gap >= 0


def test_matrices_at_a_k_point(crystal_model):
    atoms = with_calculator(chain(), crystal_model)
    calc = atoms.calc
    h, s = calc.get_hamiltonian(kpt=(0.25, 0, 0)), calc.get_overlap(kpt=(0.25, 0, 0))
    assert largest(scipy.linalg.eigvalsh(h, s) * HARTREE_IN_EV - calc.get_eigenvalues(kpt=1)) < 1e-9
    with pytest.raises(SettingError, match="dense"):
        calc.get_hamiltonian(kpt=(0.25, 0, 0), sparse=True)
    with pytest.raises(SettingError, match="k points of shape"):
        calc.get_hamiltonian(kpt=(0.25, 0))


def test_levels_of_a_path_are_those_of_its_matrices_and_count_from_the_fermi_level(crystal_model):
    atoms = with_calculator(chain(), crystal_model)
    way = atoms.cell.bandpath(npoints=7, pbc=atoms.pbc)
    found = atoms.calc.band_structure(way)
    assert isinstance(found, BandStructure)
    assert found.energies.shape == (1, 7, 8)
    assert found.reference == pytest.approx(atoms.calc.get_fermi_level())
    h, s = atoms.calc.get_bloch_matrices(way.kpts)
    for k in range(7):
        levels = scipy.linalg.eigh(h[k], s[k], eigvals_only=True) * 27.211386024367243
        np.testing.assert_allclose(found.energies[0, k], levels, atol=1e-6)
    assert largest(found.energies - atoms.calc.band_structure("GX", npoints=7).energies) < 1e-9
    assert len(atoms.calc.band_structure().path.kpts) == 100


def test_a_supercell_has_the_folded_bands_and_twice_the_energy(crystal_model):
    atoms = with_calculator(chain(), crystal_model, kpts=(8, 1, 1))
    large = with_calculator(chain().repeat((2, 1, 1)), crystal_model, kpts=(4, 1, 1))
    assert large.get_potential_energy() == pytest.approx(2 * atoms.get_potential_energy(), abs=1e-9)
    assert large.calc.get_fermi_level() == pytest.approx(atoms.calc.get_fermi_level(), abs=1e-5)
    k = np.array([[0.11, 0, 0]])
    _, levels = k, atoms.calc._solve_crystal().levels(np.concatenate([k / 2, k / 2 + [[0.5, 0, 0]]]))
    assert largest(large.calc._solve_crystal().levels(k)[0] - np.sort(levels.ravel())) < 1e-6


def sheet(seed=0):
    atoms = graphene(vacuum=3.0)
    atoms.rattle(0.05, seed=seed)
    return atoms


DIMENSIONS = [chain, sheet, pytest.param(bulk, marks=pytest.mark.slow)]


@pytest.mark.parametrize("make", DIMENSIONS)
def test_bands_of_an_n_by_n_supercell_predicted_anew_are_folded_ones(crystal_model, make):
    atoms = make()
    n = np.where(atoms.pbc, 2, 1)
    k = np.array([0.11, 0.07, 0.23]) * atoms.pbc
    folded = [(k + m) / n for m in np.ndindex(*n)]
    small, large = (with_calculator(x, crystal_model) for x in (atoms, atoms.repeat(n)))
    levels = small.calc._solve_crystal().levels(np.array(folded))
    assert largest(large.calc._solve_crystal().levels(k[None])[0] - np.sort(levels.ravel())) < 1e-6


@pytest.mark.parametrize("make", DIMENSIONS)
def test_bands_do_not_depend_on_orientation_handedness_and_place(crystal_model, make):
    k = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 3)) * make().pbc
    expected = with_calculator(atoms := make(), crystal_model).calc._solve_crystal(atoms).levels(k)
    for sign in (1, -1):
        turned, turn = make(), sign * Rotation.random(random_state=3).as_matrix()
        turned.positions = turned.positions @ turn.T + [0.3, -1.2, 0.7]
        turned.cell = turned.cell.array @ turn.T
        found = with_calculator(turned, crystal_model).calc._solve_crystal(turned).levels(k)
        assert largest(found - expected) < 1e-6


@pytest.mark.parametrize(("kpts", "points"), [
    (None, 10), ((3, 1, 1), 3), ((3, 3, 3), 3), ({"size": (4, 1, 1), "gamma": False}, 4), ({"density": 2}, 5),
])  # fmt: skip
def test_meshes_may_be_given_as_elsewhere_in_ase(crystal_model, kpts, points):
    atoms = with_calculator(chain(), crystal_model, kpts=kpts)
    found = atoms.calc.get_bz_k_points()
    assert len(found) == points
    assert not found[:, 1:].any()
    assert bool((np.abs(found[:, 0]) < 1e-12).any()) == (kpts != {"size": (4, 1, 1), "gamma": False})


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 5, 7, 11, 13])
@pytest.mark.parametrize("cell", [chain(), graphene(), bulk()])
def test_the_default_mesh_holds_edges_of_the_zone(cell, cells):
    """K of graphene, where its bands meet, and M; X of a chain, at which the gap of polyyne is.  A cell of
    several holds them as well, wherever they are folded to."""
    periodic = cell.pbc
    lattice = Lattice.of_atoms(cell.repeat(np.where(periodic, cells, 1)))
    points = mesh_of(None, lattice).points.numpy()
    specials = [[0.5, 0, 0]]
    if periodic.sum() == 2:
        specials += [[1 / 3, 1 / 3, 0], [0.5, 0.5, 0]]
    if periodic.all():
        specials += [[0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    for special in np.array(specials):
        apart = points - cells * special
        assert (np.abs(apart - np.round(apart)).max(1) < 1e-9).any(), special


def test_the_gap_does_not_depend_on_the_cell_by_default():
    """A gap at the edge of the zone: at half a reciprocal vector of every odd number of cells."""
    bonds = Atoms("C2", [[0, 0, 0], [1.25, 0, 0]], cell=[2.6, 0, 0], pbc=[True, False, False])
    gaps = []
    for n in (1, 3, 5):
        atoms = with_calculator(bonds.repeat((n, 1, 1)), "helm-carbon-pbe", kpts=None)
        gaps.append(atoms.calc.get_bands().gap.fundamental)
    assert gaps[0] > 0.02
    assert gaps[1:] == pytest.approx([gaps[0]] * 2, abs=1e-5)


def test_smearing_moves_the_occupations(crystal_model):
    sharp, soft = (with_calculator(chain(), crystal_model, smearing=w) for w in (0.0, 5.0))
    assert set(np.round(sharp.calc.get_occupation_numbers(1), 9)) <= {0.0, 2.0}
    assert 1e-3 < soft.calc.get_occupation_numbers(1)[4] < 1.99


def test_charges_are_those_of_the_matrices_and_sum_to_zero(crystal_model):
    atoms = Atoms(
        "C3", [[0, 0, 0], [1.25, 0.1, 0], [2.5, 0, 0.2]], cell=[3.9, 0, 0], pbc=[True, False, False]
    )
    charges = with_calculator(atoms, crystal_model, kpts=(6, 1, 1)).get_charges()
    assert abs(charges.sum()) < 1e-9
    assert largest(charges) > 1e-3
    k, weights = atoms.calc.get_ibz_k_points(), atoms.calc.get_k_point_weights()
    electrons = np.zeros(3)
    for number, (h, s) in enumerate(zip(*atoms.calc.get_bloch_matrices(k), strict=True)):
        c = scipy.linalg.eigh(h, s)[1]
        filled = weights[number] * atoms.calc.get_occupation_numbers(number)
        electrons += ((c.conj() * (s @ c)).real @ filled).reshape(3, 4).sum(1)
    np.testing.assert_allclose(charges, 4 - electrons, atol=1e-8)
    atoms.calc.parameters["kpts"] = (1, 1, 1)  # written to directly, and not by set()
    other = with_calculator(atoms.copy(), crystal_model, kpts=(1, 1, 1)).get_charges()
    assert largest(other - charges) > 1e-3
    np.testing.assert_allclose(atoms.get_charges(), other, atol=1e-9)
    atoms.calc.set(smearing=8.0)
    assert largest(atoms.get_charges() - other) > 1e-3


@pytest.mark.parametrize(("by", "names"), [
    ("atom", ["C0", "C1"]), ("element", ["C"]), ("degree", ["s", "p"]),
])  # fmt: skip
def test_populations_of_levels_are_named(by, names, crystal_model):
    atoms = with_calculator(chain(), crystal_model)
    calc = atoms.calc
    found, shares = calc.get_band_populations(by, atoms)
    assert found == names
    assert shares.shape == (1, len(calc.get_ibz_k_points()), len(names), 8)
    assert largest(shares.sum(2) - 1) < 1e-9
    with pytest.raises(SettingError, match="atom, element, degree"):
        calc.get_band_populations("shell")


# --- energies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [bulk, lambda: graphene(vacuum=4.0)])
def test_forces_and_stress_are_derivatives(crystal_model, make):
    atoms = with_calculator(make(), crystal_model)
    stress, forces = atoms.get_stress(voigt=False), atoms.get_forces()
    assert set(atoms.calc.results) >= {"energy", "free_energy", "forces", "stress"}
    cell, step = atoms.cell.array.copy(), 1e-4
    for a, b in ((0, 0), (0, 1), (2, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            atoms.set_cell(cell @ strain, scale_atoms=True)
            energies.append(atoms.get_potential_energy())
        atoms.set_cell(cell, scale_atoms=True)
        derivative = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert stress[a, b] == pytest.approx(derivative, abs=1e-6)
    energies = []
    for sign in (1, -1):
        atoms.positions[1, 0] += sign * step
        energies.append(atoms.get_potential_energy())
        atoms.positions[1, 0] -= sign * step
    assert forces[1, 0] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-5)


def test_cells_relax(crystal_model):
    atoms = with_calculator(bulk(), crystal_model)
    before = atoms.get_potential_energy()
    with BFGS(FrechetCellFilter(atoms), logfile=None) as relaxation:
        relaxation.run(fmax=0.01, steps=5)
    assert atoms.get_potential_energy() < before


@pytest.mark.parametrize("make", [chain, pytest.param(bulk, marks=pytest.mark.slow)])
def test_the_cell_counts_where_something_is_periodic(make, crystal_model):
    atoms = with_calculator(make(), crystal_model)
    energy, level = atoms.get_potential_energy(), atoms.calc.get_fermi_level()
    atoms.set_cell(atoms.cell.array * 1.05)  # the atoms stay where they are
    assert atoms.calc.check_state(atoms) == ["cell"]
    assert atoms.get_potential_energy() != energy
    assert atoms.calc.get_fermi_level() != level


def test_copies_and_pickles_give_the_same(crystal_model):
    atoms = with_calculator(chain(), crystal_model)
    expected = atoms.calc.get_fermi_level(), atoms.get_potential_energy()
    for twin in (copy.deepcopy(atoms), pickle.loads(pickle.dumps(atoms))):
        assert (twin.calc.get_fermi_level(), twin.get_potential_energy()) == expected


# --- refusals -----------------------------------------------------------------------------------------


def test_models_of_molecules_refuse_crystals_and_name_both_ways_out():
    atoms = molecule("H2O", vacuum=4.0)
    atoms.pbc = True
    with pytest.raises(StructureError, match=r"molecule in a box.*pbc = False.*; for a crystal.*No model"):
        atoms.calc = HELMCalculator(model="helm-hcnof-2")
    with pytest.raises(StructureError, match="'helm-carbon-pbe' knows slabs of these elements"):
        graphene(vacuum=4.0).calc = HELMCalculator(model="helm-hcnof-2")


def test_models_of_crystals_refuse_what_they_have_not_learnt(crystal_model, tmp_path):
    with pytest.raises(StructureError, match="has learnt chains, slabs, bulk, not molecules"):
        with_calculator(Atoms("C2", [[0, 0, 0], [1.3, 0, 0]]), crystal_model)
    save_checkpoint(checkpoint(dimensions=(2,), predicts=("hamiltonian",)), tmp_path / "slabs.safetensors")
    with pytest.raises(StructureError, match="has learnt slabs, not bulk"):
        with_calculator(bulk(), str(tmp_path / "slabs.safetensors"))
    sheet = with_calculator(graphene(vacuum=4.0), str(tmp_path / "slabs.safetensors"))
    with pytest.raises(UntrainedError, match="energy"):
        sheet.get_potential_energy()


def test_what_is_for_molecules_says_so(crystal_model):
    atoms = with_calculator(chain(), crystal_model)
    for ask in (
        atoms.calc.get_hamiltonian, atoms.calc.get_homo_lumo, atoms.calc.refine, atoms.calc.initial_guess,
        lambda: atoms.calc.write("x.cube"), atoms.get_dipole_moment,
    ):  # fmt: skip
        with pytest.raises(StructureError, match="molecules only"):
            ask()
    with pytest.raises(StructureError, match="HELMCalculator only"):
        atoms.calc.get_hessian()
    (found,) = predict_many([chain()], model=crystal_model)
    assert "HELMCalculator only" in str(found.error)


def test_what_is_for_crystals_says_so():
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator(model="helm-hcnof-2")
    for ask in (atoms.calc.band_structure, atoms.calc.get_real_space_hamiltonian, atoms.calc.get_bands):
        with pytest.raises(StructureError, match="nothing is periodic"):
            ask()
    with pytest.raises(PropertyNotImplementedError, match="no stress"):
        atoms.get_stress()


def test_vacuum_that_is_called_periodic_is_refused_where_it_moves_the_levels(crystal_model):
    boxed = Atoms("C2", [[0, 0, 0], [1.25, 0, 0]], cell=[2.6, 15, 12], pbc=True)
    with pytest.raises(StructureError, match=r"along b and c .* 15 Å of vacuum.*= \[True, False, False\]"):
        with_calculator(boxed, crystal_model).calc.get_bands()
    alone = Atoms("C2", [[3, 3, 11.9], [4.25, 3, 0]], cell=[12, 12, 12], pbc=True)
    with pytest.raises(StructureError, match=r"molecule in a periodic box.*atoms.pbc = False"):
        with_calculator(alone, crystal_model).calc.get_fermi_level()
    assert np.isfinite(with_calculator(boxed, crystal_model).get_potential_energy())


def test_a_path_of_another_cell_is_refused(crystal_model):
    atoms = with_calculator(bulk(), crystal_model)
    way = atoms.cell.bandpath("GX", npoints=3)
    assert atoms.calc.band_structure(way).energies.shape == (1, 3, 8)
    with pytest.raises(SettingError, match="that of another cell"):
        atoms.calc.band_structure(atoms.repeat((2, 1, 1)).cell.bandpath("GX", npoints=3))


def test_charged_and_open_cells_are_refused(crystal_model):
    with pytest.raises(ChargeError, match="neutral closed shells"):
        with_calculator(chain(), crystal_model, charge=1).get_potential_energy()


def test_a_cell_without_volume_has_no_stress(crystal_model):
    with pytest.raises(StructureError, match="three lattice vectors"):
        with_calculator(chain(), crystal_model).get_stress()


@pytest.mark.parametrize("wrong", [
    {"kpts": "GXM"}, {"kpts": (1, 2)}, {"kpts": {"path": "GX"}}, {"kpts": (1.5, 1, 1)}, {"smearing": -1},
    {"smearing": "x"},
])  # fmt: skip
def test_keywords_that_make_no_sense_are_refused(crystal_model, wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        with_calculator(chain(), crystal_model, **wrong)


def test_distances_of_images_count_as_seen_or_unseen(crystal_model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_calculator(chain(1), crystal_model).get_potential_energy()
    with pytest.warns(match="never saw C–C"):
        with_calculator(chain(1, length=2.1), crystal_model).get_potential_energy()
