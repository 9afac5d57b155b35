"""Bonds that training has shown, and those that it has not."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from scipy.sparse.csgraph import connected_components
from scipy.stats import special_ortho_group

from helm_ase import load_model
from helm_ase.representation.bonding import BondCoverage, Environment, linked_atoms, open_fragments
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.connectivity import bonded, fragments
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.representation.geometry import FEW

NEUTRAL = ChargeState(0, 1)
KNOWN = (
    "H2O", "CH4", "NH3", "HF", "N2", "H2", "F2", "HCN", "C2H2", "C2H4", "C2H6", "CH3OH", "H2CO", "HCOOH",
    "H2O2", "N2H4", "H2CF2", "CH3CONH2", "CH3CH2OH", "CH3CHO", "CH2OCH2", "isobutene", "cyclobutene", "C4H4O",
)  # fmt: skip
"""Molecules of ASE's G2 set whose bonds the default model knows."""


@pytest.fixture(scope="module")
def record():
    found = load_model("helm-hcnof-2").bonding
    assert found is not None
    return found


def faults(record, atoms, state=NEUTRAL):
    return record.faults(atoms.numbers, atoms.positions, state)


def stretched(atoms, i, j, by):
    """The part behind atom j moved away from atom i; None if both are of one ring."""
    bonds = bonded(atoms.numbers, atoms.positions)
    bonds[i, j] = bonds[j, i] = False
    parts = fragments(bonds)
    if parts[i] == parts[j]:
        return None
    axis = atoms.positions[j] - atoms.positions[i]
    moved = atoms.copy()
    moved.positions[parts == parts[j]] += by * axis / np.linalg.norm(axis)
    return moved


# --- laws -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CH3OH", "H2CO", "F2"])
def test_faults_do_not_depend_on_place_orientation_and_numbering(record, name, rng):
    atoms = stretched(molecule(name), 0, 1, 0.4)
    turned = atoms.copy()
    turned.positions = atoms.positions @ special_ortho_group.rvs(3, random_state=1).T + 5
    assert faults(record, turned) == faults(record, atoms)
    order = rng.permutation(len(atoms))
    assert len(faults(record, atoms[order])) == len(faults(record, atoms))
    assert len(faults(record, atoms)) > 0


@pytest.mark.parametrize("name", KNOWN)
def test_molecules_of_the_training_kind_are_known_at_rest_and_every_single_bond_can_be_broken(record, name):
    atoms = molecule(name)
    assert faults(record, atoms) == []
    for i, j in np.argwhere(np.triu(bonded(atoms.numbers, atoms.positions))):
        far = stretched(atoms, i, j, 1.2)
        assert far is None or any(fault.broken for fault in faults(record, far)), (i, j)


def test_what_was_collected_is_known():
    geometries = [molecule(name) for name in KNOWN]
    seen = BondCoverage.collect((a.numbers, a.positions, NEUTRAL) for a in geometries)
    assert seen.molecules == len(KNOWN)
    assert all(faults(seen, atoms) == [] for atoms in geometries)


def test_a_record_survives_its_file_format(record):
    again = BondCoverage.from_json(record.to_json())
    assert again.environments == record.environments
    assert set(again.lengths) == set(record.lengths)
    assert again.to_json() == record.to_json()
    coverage = DistanceCoverage(12.0, {(1, 8): frozenset({4})}, record)
    assert DistanceCoverage.from_json(coverage.to_json()).bonding.to_json() == record.to_json()
    assert "bonding" not in DistanceCoverage(12.0).to_json()


def test_fragments_are_counted_by_the_parity_of_their_electrons():
    def opened(atoms, state=NEUTRAL):
        return open_fragments(atoms.numbers, bonded(atoms.numbers, atoms.positions), state)

    assert opened(molecule("H2O") + Atoms("OH2", molecule("H2O").positions + 6)) == 0
    radicals = Atoms("OHOH", [[0, 0, 0], [0, 0, 0.97], [6, 0, 0], [6, 0, 0.97]])
    assert opened(radicals) == 2
    assert opened(radicals, ChargeState(0, 3)) == 0  # a triplet is two
    assert opened(radicals, ChargeState(-1, 2)) == 0  # OH and OH⁻


def test_ion_pairs_are_no_radicals():
    def opened(atoms, state=NEUTRAL):
        return open_fragments(atoms.numbers, linked_atoms(atoms.numbers, atoms.positions), state)

    ammonium = molecule("CH4")
    ammonium.numbers[0] = 7
    fluoride, hydroxyl = Atoms("F", [[0, 0, 5]]), Atoms("OH", [[0, 0, 5], [0, 0, 5.97]])
    assert opened(ammonium, ChargeState(1, 1)) == 0
    assert opened(ammonium + fluoride) == 0
    assert opened(ammonium + fluoride + Atoms("F", [[0, 0, -5]]), ChargeState(-1, 1)) == 0
    assert opened(ammonium + molecule("H2O") + Atoms("F", [[5, 5, 5]])) == 0
    assert opened(ammonium + hydroxyl, ChargeState(1, 2)) == 0
    assert opened(molecule("CH3") + hydroxyl) == 2
    assert opened(ammonium + fluoride + molecule("CH3") + Atoms("OH", [[9, 0, 0], [9, 0, 1]])) == 2


def test_a_proton_between_two_atoms_belongs_to_one_fragment_and_a_lost_hydrogen_to_none():
    def opened(length):
        atoms = Atoms("OHO", [[0, 0, 0], [0, 0, length], [0, 0, 2 * length]])
        return open_fragments(atoms.numbers, linked_atoms(atoms.numbers, atoms.positions), ChargeState(-1, 1))

    assert opened(1.6) == 0
    lost = Atoms("OH2", [[0, 0, 0], [0, 0, 0.97], [2.0, 0, 0]])
    assert open_fragments(lost.numbers, linked_atoms(lost.numbers, lost.positions), NEUTRAL) == 2


def test_a_few_broken_bonds_among_many_molecules_are_not_learnt():
    broken, whole = Atoms("F2", [[0, 0, 0], [0, 0, 2.3]]), molecule("CH3OH")

    def collected(count):
        geometries = [broken] * count + [whole] * 1000
        return BondCoverage.collect((a.numbers, a.positions, NEUTRAL) for a in geometries)

    assert collected(3).open_fragments == 0
    assert any(fault.broken for fault in faults(collected(3), broken))
    assert collected(20).open_fragments == 2


def test_without_a_record_only_fragments_are_known():
    laws = BondCoverage.of_closed_shells()
    assert faults(laws, molecule("CH3OH")) == []
    assert faults(laws, Atoms("F2", [[0, 0, 0], [0, 0, 1.6]])) == []
    assert [f.broken for f in faults(laws, Atoms("F2", [[0, 0, 0], [0, 0, 2.3]]))] == [True]


# --- cases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbols", "lengths"),
    [
        ("F2", (1.8, 2.28, 5)), ("H2", (0.4, 1.2, 3)), ("HF", (1.6, 3)), ("N2", (1.6, 3)), ("CO", (3,)),
    ],
)  # fmt: skip
def test_diatomic_molecules_that_are_torn_or_crushed_are_broken(record, symbols, lengths):
    for length in lengths:
        found = faults(record, Atoms(symbols, [[0, 0, 0], [0, 0, length]]))
        assert any(fault.broken for fault in found), length


@pytest.mark.parametrize(("name", "lengths"), [("H2O2", (1.75, 1.85)), ("H2O", (1.35, 1.45))])
def test_a_bond_beyond_all_of_training_is_named_with_its_length(record, name, lengths):
    for length in lengths:
        atoms = molecule(name)
        atoms = stretched(atoms, 0, 1, length - atoms.get_distance(0, 1))
        texts = [fault.text for fault in faults(record, atoms)]
        assert any(f"at {length:.2f} Å" in text and "in training" in text for text in texts), texts


def test_a_radical_is_known_by_its_open_valence(record):
    butyl = molecule("isobutane")
    bonds = bonded(butyl.numbers, butyl.positions)
    tertiary = next(k for k in np.flatnonzero(butyl.numbers == 6) if bonds[k, butyl.numbers == 6].sum() == 3)
    hydrogen = next(k for k in np.flatnonzero(butyl.numbers == 1) if bonds[k, tertiary])
    far = stretched(butyl, tertiary, hydrogen, 4.0)
    texts = " ".join(fault.text for fault in faults(record, far))
    assert "open valence" in texts
    assert "bonded to nothing" in texts
    assert Environment(6, 3, 0, False).is_open
    assert not Environment(6, 3, 0, True).is_open


def test_nonsense_is_no_record():
    with pytest.raises(ValueError, match="bonds from"):
        BondCoverage.from_json(
            {"environments": [], "lengths": [[1, 1, 1, 1, 2.0, 1.0]], "open_fragments": 0, "molecules": 1}
        )


@pytest.mark.parametrize("count", [0, 1, 7, 40, 299])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_fragments_of_few_atoms_are_those_of_a_library_for_graphs(count, share):
    rng = np.random.default_rng(count)
    bonds = np.triu(rng.random((count, count)) < share * 2 / max(count, 1), k=1)
    bonds |= bonds.T
    expected = connected_components(bonds, directed=False)[1] if count else []
    np.testing.assert_array_equal(fragments(bonds), expected)


def test_a_long_chain_in_any_order_is_one_fragment():
    order = np.random.default_rng(0).permutation(FEW)
    bonds = np.zeros((FEW, FEW), dtype=bool)
    bonds[order[:-1], order[1:]] = bonds[order[1:], order[:-1]] = True
    assert not fragments(bonds).any()
