"""Bonds that training has shown, and those that it has not."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from scipy.sparse.csgraph import connected_components
from scipy.stats import special_ortho_group

from helm_ase import load_model
from helm_ase.representation.bonding import BondCoverage, Environment, open_fragments
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.connectivity import bonded, fragments
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.representation.geometry import FEW

NEUTRAL = ChargeState(0, 1)
KNOWN = (
    "H2O", "CH4", "NH3", "HF", "N2", "H2", "F2", "HCN", "C2H2", "C2H4", "C2H6", "CH3OH", "H2CO", "HCOOH",
    "H2O2", "N2H4", "H2CF2", "CH3CONH2", "CH3CH2OH", "CH3CHO", "CH2OCH2", "isobutene", "cyclobutene", "C4H4O",
)  # fmt: skip
"""Molecules of ASE's G2 set whose bonds helm-hcnof-2 knows."""


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


def test_a_record_with_states_and_free_atoms_survives_its_file_format():
    atom, water = Atoms("O"), molecule("H2O")
    entries = [(a.numbers, a.positions, ChargeState(0, m)) for a, m in ((atom, 3), (water, 1))]
    record = BondCoverage.collect(entries)
    again = BondCoverage.from_json(record.to_json())
    assert (again.states, again.free_atoms) == (record.states, record.free_atoms)
    assert record.states == {ChargeState(0, 3): 1, ChargeState(0, 1): 1}
    assert record.free_atoms == {(8, 0, 3)}


def test_a_record_survives_its_file_format(record):
    again = BondCoverage.from_json(record.to_json())
    assert again.environments == record.environments
    assert set(again.lengths) == set(record.lengths)
    assert again.to_json() == record.to_json()
    coverage = DistanceCoverage(12.0, {(1, 8): frozenset({4})}, record)
    assert DistanceCoverage.from_json(coverage.to_json()).bonding.to_json() == record.to_json()
    assert "bonding" not in DistanceCoverage(12.0).to_json()


def opened(atoms, state=NEUTRAL):
    return open_fragments(atoms.numbers, atoms.positions, state)


def embedded(smiles):
    """A geometry of RDKit's force field, heavy atoms in the order of the SMILES."""
    chem = pytest.importorskip("rdkit.Chem.AllChem")
    molecule_ = chem.AddHs(chem.MolFromSmiles(smiles))
    assert chem.EmbedMolecule(molecule_, randomSeed=1) == 0
    return Atoms([a.GetSymbol() for a in molecule_.GetAtoms()], molecule_.GetConformer().GetPositions())


def test_fragments_are_counted_by_the_parity_of_their_electrons():
    assert opened(molecule("H2O") + Atoms("OH2", molecule("H2O").positions + 6)) == 0
    radicals = Atoms("OHOH", [[0, 0, 0], [0, 0, 0.97], [6, 0, 0], [6, 0, 0.97]])
    assert opened(radicals) == 2
    assert opened(radicals, ChargeState(0, 3)) == 0  # a triplet is two
    assert opened(radicals, ChargeState(-1, 2)) == 0  # OH and OH⁻


AMMONIUM = molecule("CH4")
AMMONIUM.numbers[0] = 7
HYDROXYL = Atoms("OH", [[0, 0, 5], [0, 0, 5.97]])
GUANIDINIUM = Atoms(
    "CN3H6",
    [[0, 0, 0], [1.33, 0, 0], [-0.665, 1.152, 0], [-0.665, -1.152, 0], [1.84, 0.87, 0], [1.84, -0.87, 0],
     [-0.17, 2.03, 0], [-1.67, 1.16, 0], [-0.17, -2.03, 0], [-1.67, -1.16, 0]],
)  # fmt: skip


def test_ion_pairs_are_no_radicals():
    fluoride, water = Atoms("F", [[0, 0, 5]]), molecule("H2O")
    water.positions += [-5, 0, 0]
    assert opened(AMMONIUM, ChargeState(1, 1)) == 0
    assert opened(AMMONIUM + fluoride) == 0
    assert opened(AMMONIUM + fluoride + Atoms("F", [[0, 0, -5]]), ChargeState(-1, 1)) == 0
    assert opened(AMMONIUM + water + Atoms("F", [[5, 5, 5]])) == 0
    assert opened(AMMONIUM + HYDROXYL, ChargeState(1, 2)) == 0
    assert opened(GUANIDINIUM + fluoride) == 0
    assert opened(molecule("CH3") + HYDROXYL) == 2
    assert opened(AMMONIUM + fluoride + molecule("CH3") + Atoms("OH", [[9, 0, 0], [9, 0, 1]])) == 2


@pytest.mark.parametrize(
    ("smiles", "pair"),
    [
        ("CS(=O)(=O)CC", (0, 1)), ("CS(=O)(=O)CC", (4, 5)), ("CS(=O)C", (1, 3)), ("OS(=O)(=O)O", (0, 1)),
        ("COP(=O)(OC)OC", (0, 1)), ("CP(C)(=O)C", (0, 1)), ("CC[N+](C)(C)[O-]", (0, 1)),
        ("C[B-](C)(C)[NH2+]C", (0, 1)),
    ],
)  # fmt: skip
def test_central_atoms_of_sulfones_phosphates_and_oxides_are_no_cations(smiles, pair):
    """They have as many neighbours as those of onium ions, and may not explain a broken bond."""
    whole = embedded(smiles)
    assert opened(stretched(whole, *pair, 2.0)) == 2


def test_a_proton_between_two_atoms_belongs_to_one_fragment_and_a_lost_hydrogen_to_none():
    def of(length):
        return opened(Atoms("OHO", [[0, 0, 0], [0, 0, length], [0, 0, 2 * length]]), ChargeState(-1, 1))

    assert of(1.6) == 0
    assert opened(Atoms("OH2", [[0, 0, 0], [0, 0, 0.97], [2.0, 0, 0]])) == 2


LOST = {"CH4": 1.65, "H2O": 1.5, "C6H6": 1.65, "HF": 1.55, "HCl": 2.35, "CH3SH": 2.4, "CH3CH2OH": 1.7}


@pytest.mark.parametrize("name", LOST)
def test_a_hydrogen_that_is_lost_is_refused_by_every_model(name):
    atoms = molecule(name)
    heavy = int(np.argmax(atoms.numbers))
    lost = min(np.flatnonzero(atoms.numbers == 1), key=lambda k: atoms.get_distance(heavy, k))
    atoms.set_distance(heavy, lost, LOST[name], fix=0)
    assert opened(atoms) == 2
    for found in (BondCoverage.of_closed_shells(), load_model().bonding):
        assert any(fault.broken for fault in faults(found, atoms))


def test_a_few_broken_bonds_among_many_molecules_are_not_learnt():
    broken, whole = Atoms("F2", [[0, 0, 0], [0, 0, 2.3]]), molecule("CH3OH")

    def collected(count):
        geometries = [broken] * count + [whole] * 1000
        return BondCoverage.collect((a.numbers, a.positions, NEUTRAL) for a in geometries)

    assert collected(3).open_fragments == 0
    assert any(fault.broken for fault in faults(collected(3), broken))
    assert collected(20).open_fragments == 2


def test_a_state_of_few_molecules_is_named_and_the_usual_one_is_not():
    water, oxygen = molecule("H2O"), molecule("O2")
    entries = [(a.numbers, a.positions, NEUTRAL) for a in [water] * 198 + [oxygen]]
    record = BondCoverage.collect([*entries, (oxygen.numbers, oxygen.positions, ChargeState(0, 3))])
    assert faults(record, water) == []
    (fault,) = faults(record, oxygen, ChargeState(0, 3))
    assert not fault.broken
    assert "charge 0 with multiplicity 3: in 1 of 200" in fault.text
    (fault,) = faults(record, water, ChargeState(-1, 2))
    assert "charge -1 with multiplicity 2: in 0 of 200" in fault.text
    often = BondCoverage.collect([(oxygen.numbers, oxygen.positions, ChargeState(0, 3))] * 5)
    assert faults(often, oxygen, ChargeState(0, 3)) == []


def test_a_rare_state_is_named_before_the_bonds_and_so_is_never_cut_off():
    water, torn = molecule("H2O"), Atoms("OH2", [[0, 0, 0], [0, 0, 1.9], [0, 1.9, 0]])
    record = BondCoverage.collect([(water.numbers, water.positions, NEUTRAL)] * 200)
    found = faults(record, torn, ChargeState(1, 2))
    assert "charge +1 with multiplicity 2" in found[0].text
    assert len(found) > 1


def test_a_free_atom_is_broken_except_in_the_state_that_training_showed_where_it_is_rare():
    oxygen, water = Atoms("O"), molecule("H2O")
    entries = [(water.numbers, water.positions, NEUTRAL)] * 2000
    without = BondCoverage.collect(entries)
    record = BondCoverage.collect([*entries, (oxygen.numbers, oxygen.positions, ChargeState(0, 3))])
    (rare,) = faults(record, oxygen, ChargeState(0, 3))
    assert (rare.broken, rare.text) == (False, "a free atom O: rare in training")
    for found in (faults(without, oxygen, ChargeState(0, 3)), faults(record, oxygen, NEUTRAL)):
        assert any(fault.broken and "O0 bonded to nothing" in fault.text for fault in found)
    pulled = Atoms("OH2", [[0, 0, 3], [0, 0, 0], [0, 0, 0.74]])
    assert any(fault.broken for fault in faults(record, pulled))


def test_a_record_without_states_and_free_atoms_says_nothing_of_them(record):
    old = {k: v for k, v in record.to_json().items() if k not in ("states", "free_atoms")}
    again = BondCoverage.from_json(old)
    assert again.states == {}
    assert again.free_atoms == frozenset()
    assert faults(again, molecule("H2O"), ChargeState(-1, 2)) == []


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
