"""Nuclei and the clouds around them: sums that leave out what cannot be told apart, beside the whole sums."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from pyscf import gto

from helm_ase.errors import SettingError
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.operator_fit import exponents_of
from helm_ase.qc.screened_nuclei import Screening, screened_nuclei
from shared.whole_sums import screening


def polyyne(length):
    """A straight chain of carbon atoms with hydrogen at both ends."""
    bonds = [1.06, *[1.2 + 0.18 * (k % 2) for k in range(length - 1)], 1.06]
    z = np.cumsum([0.0, *bonds])
    return Atoms("H" + "C" * length + "H", np.outer(z, [0.36, 0.48, 0.8]))


def water_row(length):
    """Water molecules in a row, 2.9 Å apart."""
    row = Atoms()
    for k in range(length):
        one = molecule("H2O")
        one.rotate(40.0 * k, "x")
        one.translate([2.9 * k, 0.0, 0.0])
        row += one
    return row


def parts_of(mole, numbers, charge=0.0, seed=0):
    """Clouds with random contents that hold the electrons of atoms that are neutral, or charged at random."""
    draw, parts = np.random.default_rng(seed), []
    for z in np.unique(numbers):
        atoms, exponents = np.flatnonzero(numbers == z), exponents_of(int(z))
        electrons = 5.0 * draw.normal(size=(len(atoms), len(exponents)))
        q = charge * draw.normal(size=len(atoms))
        electrons[:, -1] += [mole.atom_charge(a) for a in atoms] - q - electrons.sum(1)
        parts.append(Screening(atoms, exponents, electrons))
    return parts


def whole(mole, parts):
    return mole.intor("int1e_nuc") + sum(screening(mole, p.atoms, p.exponents, p.electrons) for p in parts)


@pytest.mark.parametrize(
    ("atoms", "basis", "charge"),
    [
        (polyyne(20), "def2-svp", 0.0), (polyyne(20), "def2-svp", 0.3), (water_row(7), "def2-tzvp", 0.3),
        (Atoms("IHOHH", [[0, 0, 0], [0, 0, 1.6], [0, 0, 9], [0, 0.8, 9.6], [0, -0.8, 9.6]]), "def2-svp", 0.2),
    ],
)  # fmt: skip
def test_what_is_left_out_does_not_matter(atoms, basis, charge, monkeypatch):
    mole = build_mole(atoms.numbers, atoms.positions, basis)
    parts = parts_of(mole, atoms.numbers, charge)
    expected = whole(mole, parts)
    np.testing.assert_allclose(screened_nuclei(mole, parts), expected, rtol=0, atol=1e-7)
    monkeypatch.setattr("helm_ase.qc.screened_nuclei.NEGLIGIBLE", 1e-3)  # something is left out at all
    assert abs(screened_nuclei(mole, parts) - expected).max() > 1e-8


def test_a_far_neutral_atom_is_invisible_and_a_charged_one_a_point():
    atoms = Atoms("HeO", [[0, 0, 0], [0, 0, 40.0]])
    mole = build_mole(atoms.numbers, atoms.positions, "def2-svp")
    on_helium = slice(0, int(mole.aoslice_by_atom()[0, 3]))
    alone = build_mole([2], [[0.0, 0.0, 0.0]], "def2-svp")
    of_helium = parts_of(alone, np.array([2]))
    for q in (0.0, 0.4):
        oxygen = Screening(np.array([1]), np.array([0.1, 5.0]), np.array([[3.0, 5.0 - q]]))
        found = screened_nuclei(mole, [*of_helium, oxygen])[on_helium, on_helium]
        with alone.with_rinv_origin(mole.atom_coord(1)):
            point = -q * alone.intor("int1e_rinv")
        np.testing.assert_allclose(found - screened_nuclei(alone, of_helium), point, rtol=0, atol=1e-10)


def test_a_chain_of_twice_the_length_takes_twice_the_integrals(monkeypatch):
    computed = []
    getints = gto.moleintor.getints

    def counted(name, *args, **kwargs):
        values = getints(name, *args, **kwargs)
        if "3c" in name:
            computed.append(values.size)
        return values

    monkeypatch.setattr(gto.moleintor, "getints", counted)
    counts = []
    for length in (40, 80):
        atoms = polyyne(length)
        mole = build_mole(atoms.numbers, atoms.positions, "sto-3g")
        computed.clear()
        screened_nuclei(mole, parts_of(mole, atoms.numbers))
        counts.append(sum(computed))
    assert counts[1] < 2.3 * counts[0]


def test_integrals_that_do_not_fit_into_memory_come_in_parts(monkeypatch):
    atoms = molecule("CH3CONH2")
    mole = build_mole(atoms.numbers, atoms.positions, "def2-svp")
    parts = parts_of(mole, atoms.numbers)
    expected = screened_nuclei(mole, parts)
    monkeypatch.setattr("helm_ase.qc.screened_nuclei.CHUNK", 2000)
    np.testing.assert_allclose(screened_nuclei(mole, parts), expected, rtol=0, atol=1e-12)


def test_every_nucleus_needs_its_clouds():
    atoms = molecule("H2O")
    mole = build_mole(atoms.numbers, atoms.positions, "def2-svp")
    parts = parts_of(mole, atoms.numbers)
    with pytest.raises(SettingError, match="no clouds"):
        screened_nuclei(mole, parts[:1])
    turned = Screening(parts[0].atoms, parts[0].exponents[::-1], parts[0].electrons)
    with pytest.raises(SettingError, match="must ascend"):
        screened_nuclei(mole, [turned, parts[1]])
