"""Fitted parameters of the energy baseline: what is fitted, what stays, and what follows for the labels."""

from copy import deepcopy

import numpy as np
import pytest
from ase.build import molecule

from helm_ase.errors import SettingError
from helm_ase.qc.tight_binding import TightBinding, with_parameters
from helm_ase.qc.tight_binding_fit import (
    NAME,
    FitSettings,
    Parameter,
    TightBindingFit,
    adjustable,
    changed,
    errors_of,
    features,
    respond,
)
from helm_ase.representation import LabelledMolecule
from helm_ase.representation.energy_baseline import EnergyBaseline

pytest.importorskip("tblite")
NAMES = ("H2O", "CH4", "CH3OH", "H2CO", "C2H6", "HCOOH", "C2H2", "CO2", "H2O2", "CH3CHO")
OFFSETS = {1: -3.0, 6: -1000.0, 8: -2000.0}
"""eV; other zeros of energy than GFN2-xTB's."""


@pytest.fixture(scope="module")
def published():
    return dict(with_parameters(EnergyBaseline("gfn2-xtb"), [1, 6, 8]).parameters)


def labelled(atoms, parameters, rng):
    """A label at the level of other parameters, a little off its minimum."""
    atoms.rattle(0.05, rng=rng)
    bare = LabelledMolecule("x", atoms.numbers, atoms.positions, np.eye(1))
    values = respond(parameters, bare).values
    energy = values[0] + sum(OFFSETS[int(z)] for z in atoms.numbers)
    forces = values[1:].reshape(-1, 3)
    return LabelledMolecule(
        str(atoms.symbols), atoms.numbers, atoms.positions, np.eye(1), 0, 1, energy, forces
    )


@pytest.fixture
def labels(published, rng):
    level = changed(published, ("element", "C", "levels", 1), 0.3)
    level = changed(level, ("element", "O", "arep"), 0.1)
    level = changed(level, ("hamiltonian", "xtb", "kpair", "C-H"), -0.03)
    return [labelled(molecule(name), level, rng) for name in NAMES]


def test_a_changed_table_leaves_the_original_alone(published):
    before = deepcopy(published)
    for path in (
        ("element", "C", "slater", 1), ("element", "H", "gam"), ("hamiltonian", "xtb", "kpair", "C-H"),
        ("hamiltonian", "xtb", "wexp"),
    ):  # fmt: skip
        made = changed(published, path, 0.25)
        here, there = made, before
        for key in path[:-1]:
            here, there = here[key], there.get(key, {}) if isinstance(there, dict) else there[key]
        was = there.get(path[-1], 1.0) if isinstance(there, dict) else there[path[-1]]
        assert here[path[-1]] == pytest.approx(was + 0.25)
    assert published == before


def test_what_no_label_holds_is_not_adjusted(published, labels):
    which = adjustable(published, labels[:1])  # water
    response = respond(published, labels[0], which)
    touched = {which[k].path[1] for k in response.slopes if which[k].path[0] == "element"}
    assert touched == {"H", "O"}
    assert not any(p.path[-1] == "C-H" for p in adjustable(published, labels, bonds=10_000))
    assert any(p.path[-1] == "C-H" for p in adjustable(published, labels, bonds=3))


def test_slopes_are_those_of_the_energy(published, labels):
    path = ("element", "O", "gam")
    slopes = respond(published, labels[0], [Parameter(path, 0.005, 0.04)]).slopes[0]
    up, down = (respond(changed(published, path, x), labels[0]).values for x in (0.002, -0.002))
    assert np.abs(slopes - (up - down) / 0.004).max() < 0.02 * np.abs(slopes).max()


def test_a_start_from_other_charges_ends_in_the_same_energy(published):
    water = molecule("H2O")
    first = TightBinding(EnergyBaseline("gfn2-xtb", parameters=published))
    first(water.numbers, water.positions, 0, 1)
    other = EnergyBaseline("gfn2-xtb", parameters=changed(published, ("element", "O", "gam"), 0.01))
    again = first.restarted(other)(water.numbers, water.positions, 0, 1)
    fresh = TightBinding(other)(water.numbers, water.positions, 0, 1)
    assert again.energy == pytest.approx(fresh.energy, abs=1e-9)
    assert np.abs(again.gradient - fresh.gradient).max() < 1e-7
    assert fresh.energy != pytest.approx(first(water.numbers, water.positions, 0, 1).energy, abs=1e-5)


def test_two_steps_find_what_was_changed(published, labels):
    fit = TightBindingFit(published, labels, FitSettings(ridge=1e-5))
    before = errors_of([respond(published, x) for x in labels], labels)
    assert fit.step()
    assert fit.step()
    after = errors_of([respond(fit.parameters, x) for x in labels], labels)
    assert before.forces > 0.1
    assert after.forces < before.forces / 5
    assert after.energy <= before.energy / 3
    assert after.missing == 0
    assert fit.parameters["meta"]["name"] == NAME
    assert published["meta"]["name"] == "GFN2-xTB"


def test_a_strong_ridge_keeps_the_published_values(published, labels):
    loose, tight = (TightBindingFit(published, labels, FitSettings(ridge=x)) for x in (1e-3, 1e3))
    for fit in (loose, tight):
        fit.step()
    spreads = np.array([p.spread for p in loose.which])
    assert np.abs(tight.moved / spreads).max() < 0.05 * np.abs(loose.moved / spreads).max()


def test_energies_of_elements_and_states_are_the_networks(labels):
    table = features(labels)
    assert table.shape == (len(labels), 3)
    assert table[0].tolist() == [2, 0, 1]


def test_labels_without_forces_are_refused(published, labels):
    bare = LabelledMolecule("bare", labels[0].numbers, labels[0].positions, np.eye(1), energy=-1.0)
    with pytest.raises(SettingError, match="bare"):
        TightBindingFit(published, [bare])
