"""D3(BJ) beside a model: what it adds, how it decays, where it is named, and where it is refused."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.fd import calculate_numerical_forces
from ase.io import Trajectory, read
from ase.units import Bohr, Hartree

from helm_ase import HELMCalculator, load_model, predict_many
from helm_ase.cli import main
from helm_ase.errors import SettingError
from helm_ase.prediction.dispersion import added_energy, dispersion_of
from helm_ase.qc import dispersion as module
from helm_ase.qc.dispersion import Dispersion, counterpoise
from helm_ase.representation.energy_baseline import EnergyBaseline

MODEL = "helm-hcnof-2"
C6_OF_METHANE = (115, 140)
"""Hartree bohr⁶; experiment and theory say 129.7 (D3's is 130)."""


@pytest.fixture(scope="module")
def plain():
    return HELMCalculator(MODEL, dtype="float64")


@pytest.fixture(scope="module")
def with_d3():
    return HELMCalculator(MODEL, dtype="float64", dispersion="d3bj")


def rattled(name):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=3)
    return atoms


def alone(atoms, grad=True):
    """What the library itself says: eV, eV/Å."""
    from dftd3.interface import DispersionModel, RationalDampingParam

    model = DispersionModel(atoms.numbers, atoms.positions / Bohr)
    found = model.get_dispersion(RationalDampingParam(method="b3lyp"), grad=grad)
    return float(found["energy"]) * Hartree, -np.array(found["gradient"]) * Hartree / Bohr


def two_methanes(distance):
    far = molecule("CH4")
    far.translate([0, 0, distance])
    return molecule("CH4") + far


# -- laws ---------------------------------------------------------------------------------------------------


def test_energy_and_forces_are_those_of_the_model_plus_those_of_the_library(plain, with_d3):
    atoms = rattled("CH3CONH2")
    energy, forces = alone(atoms)
    assert energy < -0.05
    found = with_d3.get_property("energy", atoms) - plain.get_property("energy", atoms)
    assert found == pytest.approx(energy, abs=1e-9)
    difference = with_d3.get_property("forces", atoms) - plain.get_property("forces", atoms)
    np.testing.assert_allclose(difference, forces, atol=1e-9)


def test_forces_are_the_slope_of_the_energy(with_d3):
    atoms = rattled("CH3OH")
    forces = with_d3.get_property("forces", atoms)
    atoms.calc = with_d3
    np.testing.assert_allclose(forces, calculate_numerical_forces(atoms, 1e-4), atol=1e-6)


def test_hessian_is_the_slope_of_the_forces(plain, with_d3):
    atoms = rattled("H2O")
    added = with_d3.get_hessian(atoms) - plain.get_hessian(atoms)
    for coordinate in (0, 4):
        sides = []
        for step in (1e-3, -1e-3):
            moved = atoms.copy()
            moved.positions.flat[coordinate] += step
            sides.append(alone(moved)[1].ravel())
        np.testing.assert_allclose(added[coordinate], -(sides[0] - sides[1]) / 2e-3, atol=1e-5)


def test_two_methanes_far_apart_attract_as_the_sixth_power_of_their_distance(plain, with_d3):
    def attraction(distance):
        def energy(calc, atoms):
            return calc.get_property("energy", atoms)

        pair, parts = two_methanes(distance), molecule("CH4")
        return (energy(with_d3, pair) - energy(plain, pair)) - 2 * (
            energy(with_d3, parts) - energy(plain, parts)
        )

    near, far = attraction(15.0), attraction(30.0)
    assert near < far < 0
    assert 6 < np.log2(near / far) < 6.1  # a little more than the sixth power: C8
    low, high = C6_OF_METHANE
    assert low < -far / Hartree * (30 / Bohr) ** 6 < high


def test_a_lone_atom_has_no_dispersion():
    found = Dispersion("d3bj", "b3lyp")(np.array([18]), np.zeros((1, 3)))
    assert found.energy == 0
    assert not found.gradient.any()


def test_off_by_default_and_the_hamiltonian_does_not_know(plain, with_d3):
    atoms = rattled("H2O")
    assert added_energy(load_model(MODEL)) is None
    np.testing.assert_array_equal(with_d3.get_hamiltonian(atoms), plain.get_hamiltonian(atoms))


def test_it_can_be_switched_on_and_off():
    atoms, calc = rattled("CH4"), HELMCalculator(MODEL)
    without = calc.get_property("energy", atoms)
    calc.set(dispersion="d3bj")
    assert calc.get_property("energy", atoms) < without
    calc.set(dispersion=None)
    assert calc.get_property("energy", atoms) == without


def test_many_agree_with_one(with_d3):
    atoms = rattled("CH3OH")
    (found,) = predict_many([atoms], model=MODEL, dtype="float64", dispersion="d3bj")
    assert found.energy == pytest.approx(with_d3.get_property("energy", atoms), abs=1e-6)
    np.testing.assert_allclose(found.forces, with_d3.get_property("forces", atoms), atol=1e-6)


@pytest.mark.scf
def test_refined_energies_contain_it_too():
    atoms = rattled("H2O")
    energies, forces = zip(
        *(
            [
                HELMCalculator(MODEL, refine=2, dispersion=d).get_property(p, atoms)
                for p in ("energy", "forces")
            ]
            for d in (None, "d3bj")
        ),
        strict=True,
    )
    energy, force = alone(atoms)
    assert energies[1] - energies[0] == pytest.approx(energy, abs=1e-6)
    np.testing.assert_allclose(forces[1] - forces[0], force, atol=1e-6)


def test_an_energy_baseline_keeps_its_charges_and_adds_its_energy():
    from helm_ase.prediction.dispersion import WithDispersion
    from helm_ase.qc.tight_binding import TightBinding, with_parameters

    atoms, d3 = rattled("H2O"), Dispersion("d3bj", "b3lyp")
    baseline = TightBinding(with_parameters(EnergyBaseline("gfn2-xtb"), (1, 8)))
    expected = baseline(atoms.numbers, atoms.positions, 0, 1)
    found = WithDispersion(baseline, d3)(atoms.numbers, atoms.positions, 0, 1)
    added = d3(atoms.numbers, atoms.positions)
    assert found.energy == pytest.approx(expected.energy + added.energy, abs=1e-9)
    np.testing.assert_allclose(found.gradient, expected.gradient + added.gradient, atol=1e-8)
    np.testing.assert_allclose(found.charges, expected.charges, atol=1e-7)


def test_stress_of_a_crystal_is_the_slope_of_its_energy_and_dispersion_contracts_it():
    from helm_ase.prediction.crystals import CrystalEnergy
    from helm_ase.prediction.dispersion import WithDispersion, add_to_crystal

    graphite = Atoms(
        "C2", [[0, 0, 0], [0, 1.42, 0]], cell=[[1.23, 2.13, 0], [-1.23, 2.13, 0], [0, 0, 3.5]], pbc=True
    )
    d3 = WithDispersion(None, Dispersion("d3bj", "pbe"))
    nothing = CrystalEnergy(0.0, np.zeros((2, 3)), np.zeros((3, 3)))
    found = add_to_crystal(nothing, graphite, d3)
    assert add_to_crystal(nothing, graphite, None) is nothing
    assert found.energy < -0.05
    for i, j in ((2, 2), (0, 0)):
        sides = []
        for step in (1e-4, -1e-4):
            strained, strain = graphite.copy(), np.eye(3)
            strain[i, j] += step
            strained.set_cell(graphite.cell @ strain, scale_atoms=True)
            sides.append(add_to_crystal(nothing, strained, d3).energy)
        slope = (sides[0] - sides[1]) / 2e-4 / graphite.cell.volume
        assert found.stress[i, j] == pytest.approx(slope, rel=1e-4)
    assert found.stress[2, 2] > 0  # the layers attract: positive, under tension
    doubled = graphite.repeat((1, 1, 2))
    assert add_to_crystal(CrystalEnergy(0.0, None, None), doubled, d3).energy == pytest.approx(
        2 * found.energy, rel=1e-6
    )


def test_counterpoise_repels_and_is_the_slope_of_its_energy():
    atoms = two_methanes(3.8)
    found = counterpoise(atoms.numbers, atoms.positions, "b3lyp", "def2-svp")
    parts = counterpoise(atoms.numbers[:5], atoms.positions[:5], "b3lyp", "def2-svp")
    assert found.energy > 2 * parts.energy > 0
    sides = []
    for step in (1e-4, -1e-4):
        moved = atoms.positions.copy()
        moved[0, 2] += step
        sides.append(counterpoise(atoms.numbers, moved, "b3lyp", "def2-svp").energy)
    assert (sides[0] - sides[1]) / 2e-4 * Bohr == pytest.approx(found.gradient[0, 2], abs=1e-7)
    with pytest.raises(SettingError, match="no counterpoise parameters for pbe in def2-svp"):
        counterpoise(atoms.numbers, atoms.positions, "pbe", "def2-svp")


# -- where it is named --------------------------------------------------------------------------------------


def test_trajectories_copies_and_pickles_know_it(with_d3, tmp_path):
    atoms = rattled("H2O")
    atoms.calc = with_d3
    energy = atoms.get_potential_energy()
    assert with_d3.todict()["dispersion"] == "d3bj"
    with Trajectory(tmp_path / "one.traj", "w", atoms) as file:
        file.write()
    assert read(tmp_path / "one.traj").calc.parameters["dispersion"] == "d3bj"
    for twin in (copy.deepcopy(with_d3), pickle.loads(pickle.dumps(with_d3))):
        assert twin.get_property("energy", atoms) == energy


@pytest.mark.parametrize("options", [(), ("--all-frames",)])
def test_the_command_says_what_its_energies_contain(options, tmp_path, capsys):
    source, target = tmp_path / "in.xyz", tmp_path / "out.xyz"
    molecule("CH4").write(source)
    arguments = ["run", str(source), "--model", MODEL, "--no-orbitals", "-o", str(target), *options]
    assert main([*arguments, "--dispersion", "d3bj"]) == 0
    assert options or "B3LYP/def2-svp + D3(BJ)" in capsys.readouterr().out
    found = read(target)
    assert found.info["dispersion"] == "d3bj"
    assert main(arguments) == 0
    without = read(target)
    assert "dispersion" not in without.info
    difference = found.get_potential_energy() - without.get_potential_energy()
    assert difference == pytest.approx(alone(molecule("CH4"))[0], abs=1e-5)


def test_info_says_what_a_model_may_be_given(capsys):
    assert main(["info", MODEL]) == 0
    assert "none beyond that of b3lyp; D3(BJ) is added with dispersion='d3bj'" in capsys.readouterr().out


# -- refusals -----------------------------------------------------------------------------------------------


def test_a_baseline_that_holds_dispersion_is_refused():
    model = load_model(MODEL)
    with_d4 = replace(model, energy_baseline=EnergyBaseline("gfn2-xtb", dispersion=True))
    with pytest.raises(SettingError, match="count it twice"):
        dispersion_of(with_d4, "d3bj")


@pytest.mark.parametrize(
    ("functional", "reason"),
    [
        ("wb97m-v", "holds dispersion"), ("b3lyp-d3bj", "holds dispersion"), ("wb97x", "belong to wb97x-v"),
        ("lda,vwn", "no D3"),
    ],
)  # fmt: skip
def test_functionals_that_hold_dispersion_or_have_no_parameters_are_refused(functional, reason):
    with pytest.raises(SettingError, match=reason):
        Dispersion("d3bj", functional)


def test_an_unknown_kind_and_a_missing_library_are_refused(monkeypatch):
    with pytest.raises(SettingError, match="d3bj"):
        HELMCalculator(MODEL, dispersion="d5")
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(SettingError, match="pip install dftd3"):
        HELMCalculator(MODEL, dispersion="d3bj")
    assert HELMCalculator(MODEL).get_property("energy", molecule("H2")) is not None
