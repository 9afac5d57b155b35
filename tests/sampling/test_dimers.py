"""New dimers touch at the drawn distance; pairs are chosen among what may pair."""

import numpy as np
import pytest
from ase.build import molecule

pytest.importorskip("rdkit")

from helm_ase.representation.connectivity import fragments
from helm_ase.sampling import SamplingSettings, from_smiles
from helm_ase.sampling.dimers import choose_pairs, join
from helm_ase.sampling.placement import place


def test_molecules_are_placed_whole_and_in_contact(rng):
    one, two = molecule("CH3CH2OH").positions, molecule("C6H6").positions
    for _ in range(50):
        both = place(one, two, (1.9, 3.6), rng)
        a, b = both[: len(one)], both[len(one) :]
        contact = np.linalg.norm(a[:, None] - b[None], axis=-1).min()
        assert 1.9 <= contact <= 3.6
        for before, after in ((one, a), (two, b)):
            assert np.allclose(_distances(before), _distances(after))
            # turned, not mirrored
            assert np.sign(_volume(before)) == np.sign(_volume(after)) or abs(_volume(before)) < 1e-9


def test_contact_distances_fill_their_range(rng):
    water = molecule("H2O").positions
    contacts = []
    for _ in range(200):
        both = place(water, water, (2.0, 3.0), rng)
        contacts.append(np.linalg.norm(both[:3, None] - both[None, 3:], axis=-1).min())
    assert np.mean(contacts) == pytest.approx(2.5, abs=0.1)
    assert np.ptp(contacts) > 0.9


def test_a_dimer_has_two_parts_and_the_sum_of_charges():
    dimer = join(from_smiles("[NH4+]"), from_smiles("O"))
    assert fragments(dimer.bonds).tolist() == [0] * 5 + [1] * 3
    assert (dimer.charge, dimer.multiplicity, dimer.smiles) == (1, 1, "O.[NH4+]")
    assert join(from_smiles("[CH3]"), from_smiles("O")).multiplicity == 2


def test_pairs_are_small_of_one_radical_at_most_and_do_not_repel():
    molecules = [from_smiles(s) for s in ("O", "[CH3]", "[NH4+]", "[OH3+]", "CCCCCC", "C.C")]
    pairs = choose_pairs(molecules, SamplingSettings(dimers=300))
    assert len(pairs) == 300
    for a, b in pairs:
        assert a.heavy_atoms + b.heavy_atoms <= 6
        assert min(a.multiplicity, b.multiplicity) == 1
        assert a.charge * b.charge <= 0
        assert "C.C" not in (a.smiles, b.smiles)
    assert len({(a.smiles, b.smiles) for a, b in pairs}) == 6


def test_no_pairs_no_dimers():
    assert choose_pairs([from_smiles("CCCCCC")], SamplingSettings(dimers=5)) == []


def _distances(positions):
    return np.linalg.norm(positions[:, None] - positions[None], axis=-1)


def _volume(positions):
    a, b, c, d = positions[:4]
    return float(np.linalg.det([b - a, c - a, d - a]))
