"""ASE's tools for crystals driven by the calculator; with random weights, for what holds here holds for
any."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import graphene
from ase.dft.dos import DOS
from ase.dft.kpoints import get_monkhorst_pack_size_and_offset
from ase.filters import FrechetCellFilter
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.phonons import Phonons
from scipy.linalg import eigh

from helm_ase import HELMCalculator
from helm_ase.units import HARTREE_IN_EV
from shared.crystal_labels import chain
from shared.deviations import largest

pytestmark = [pytest.mark.client, pytest.mark.filterwarnings("ignore::helm_ase.ExtrapolationWarning")]


def diamond():
    a = 1.8
    return Atoms("C2", [[0, 0, 0], [0.9, 0.9, 0.9]], cell=[[0, a, a], [a, 0, a], [a, a, 0]], pbc=True)


def calculator(crystal_model, **keywords):
    return HELMCalculator(model=crystal_model, dtype="float64", **keywords)


@pytest.mark.parametrize(("make", "kpts", "width"), [
    (chain, (6, 1, 1), 0.3), (diamond, (4, 3, 2), 0.0),
    pytest.param(diamond, {"size": (4, 3, 2), "gamma": False}, 0.0, marks=pytest.mark.slow),
])  # fmt: skip
def test_the_density_of_states_holds_two_electrons_in_each_level(make, kpts, width, crystal_model):
    """Width 0 stands for ASE's tetrahedra, which need the points of the whole zone in ASE's order."""
    atoms = make()
    atoms.calc = calculator(crystal_model, kpts=kpts)
    levels = np.array([atoms.calc.get_eigenvalues(k) for k in range(len(atoms.calc.get_ibz_k_points()))])
    levels -= atoms.calc.get_fermi_level()
    dos = DOS(atoms.calc, width=width, window=(levels.min() - 5, levels.max() + 5), npts=4001)
    density = dos.get_dos()
    assert np.trapezoid(density, dos.get_energies()) == pytest.approx(2 * levels.shape[1], rel=0.02)
    assert density[:100].max() < 1e-6


@pytest.mark.parametrize("gamma", [True, False])
def test_points_of_the_whole_zone_have_the_levels_that_the_map_gives_them(gamma, crystal_model):
    atoms = diamond()
    atoms.positions[1] += [0.1, -0.05, 0.2]
    atoms.calc = calculator(crystal_model, kpts={"size": (4, 3, 2), "gamma": gamma})
    whole = atoms.calc.get_bz_k_points()
    few = np.array([atoms.calc.get_eigenvalues(k) for k in range(len(atoms.calc.get_ibz_k_points()))])
    h, s = atoms.calc.get_bloch_matrices(whole)
    known = np.array([eigh(a, b, eigvals_only=True) for a, b in zip(h, s, strict=True)]) * HARTREE_IN_EV
    assert largest(few[atoms.calc.get_bz_to_ibz_map()] - known) < 1e-6
    size, _ = get_monkhorst_pack_size_and_offset(whole)
    assert size.tolist() == [4, 3, 2]
    assert np.ptp(few, axis=0).max() > 0.1


def test_phonons_know_translations_and_fold_as_a_larger_cell_does(crystal_model, tmp_path):
    atoms = chain()
    atoms.center(vacuum=4.0, axis=(1, 2))
    small = Phonons(
        atoms, calculator(crystal_model), supercell=(4, 1, 1), delta=0.01, name=tmp_path / "small"
    )
    small.run()
    small.read(acoustic=False)
    double = Phonons(
        atoms.repeat((2, 1, 1)),
        calculator(crystal_model),
        supercell=(2, 1, 1),
        delta=0.01,
        name=tmp_path / "double",
    )
    double.run()
    double.read(acoustic=False)

    def squares(phonons, points):
        """Squared frequencies, also the negative ones of a geometry that is no minimum."""
        found = [np.asarray(phonons.band_structure([p], verbose=False)) for p in points]
        return np.sort(np.real(np.array(found, complex) ** 2).ravel())

    gamma = squares(small, [(0, 0, 0)])
    assert np.sort(np.abs(gamma))[2] < 1e-4 * np.abs(gamma).max()  # the crystal as a whole
    folded = squares(small, [(0, 0, 0), (0.5, 0, 0)])
    assert largest(squares(double, [(0, 0, 0)]) - folded) < 1e-4 * np.abs(gamma).max()


@pytest.mark.parametrize("make", [diamond, pytest.param(lambda: graphene(a=2.5), marks=pytest.mark.slow)])
def test_cell_and_atoms_relax_together_and_stay_symmetric(make, crystal_model):
    atoms = make()
    atoms.calc = calculator(crystal_model)
    if not atoms.cell.volume:
        atoms.center(vacuum=5.0, axis=2)
    mask = np.outer(atoms.pbc, atoms.pbc)
    with BFGS(FrechetCellFilter(atoms, mask=mask), logfile=None) as relaxation:
        before = atoms.get_potential_energy()
        relaxation.run(fmax=0.005, steps=60)
    assert atoms.get_potential_energy() < before
    lengths = atoms.cell.lengths()[: 3 if atoms.pbc.all() else 2]
    assert np.ptp(lengths) < 1e-6 * lengths[0]


def test_energy_is_conserved_in_a_cell_of_32_atoms(crystal_model):
    drifts = []
    for step in (0.5, 0.25):
        atoms = diamond().repeat((4, 2, 2))
        rng = np.random.default_rng(3)
        thermalize_momenta(atoms, 600.0, rng=rng)
        Stationary(atoms)
        atoms.calc = calculator(crystal_model)
        energies = []
        md = VelocityVerlet(atoms, step * units.fs)
        for _ in md.irun(round(10 / step)):
            energies.append(atoms.get_total_energy())
        drifts.append(np.ptp(energies) / len(atoms))
    assert drifts[0] < 1e-4
    assert drifts[1] < 0.4 * drifts[0]  # of second order in the step
