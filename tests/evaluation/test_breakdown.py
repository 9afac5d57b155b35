"""The error of H by classes: the parts are the whole."""

import numpy as np
import pytest

from helm_ase.evaluation.breakdown import ON_SITE, bin_name, break_down, combine, pair_name
from helm_ase.representation import AOBasis

BASIS = AOBasis("spd", {1: (0, 0, 1), 6: (0, 0, 0, 1, 1, 2), 8: (0, 0, 0, 1, 1, 2)})
NUMBERS = np.array([8, 1, 6, 1])
POSITIONS = np.array([[0.0, 0, 0], [0, 0, 0.96], [0, 1.4, 0], [0, 0, 7.3]])


def random_difference(rng, numbers, spins=1):
    size = BASIS.size(numbers)
    x = rng.normal(size=(spins, size, size))
    return x + x.swapaxes(1, 2)


@pytest.mark.parametrize("spins", [1, 2])
def test_sums_over_classes_are_sums_over_the_matrix(rng, spins):
    d = random_difference(rng, NUMBERS, spins)
    found = break_down(d, NUMBERS, POSITIONS, BASIS)
    for classes in (found.pairs, found.distances):
        assert sum(t.elements for t in classes.values()) == d.size
        assert sum(t.absolute for t in classes.values()) == pytest.approx(np.abs(d).sum(), rel=1e-13)
        assert sum(t.squared for t in classes.values()) == pytest.approx(np.square(d).sum(), rel=1e-13)
        assert sum(t.share for t in classes.values()) == pytest.approx(np.abs(d).mean(), rel=1e-13)
    assert found.total.mean == pytest.approx(np.abs(d).mean(), rel=1e-13)
    assert found.total.rms == pytest.approx(np.sqrt(np.square(d).mean()), rel=1e-13)


def test_shares_of_many_molecules_add_up_to_the_mean_over_molecules(rng):
    molecules = [NUMBERS, NUMBERS[:3], NUMBERS[1:2], NUMBERS[[2, 0]]]
    parts, means = [], []
    for numbers in molecules:
        d = random_difference(rng, numbers)
        parts.append(break_down(d, numbers, POSITIONS[: len(numbers)], BASIS))
        means.append(np.abs(d).mean())
    whole = combine(parts)
    assert whole.molecules == 4
    for classes in (whole.pairs, whole.distances):
        assert sum(t.share for t in classes.values()) / 4 == pytest.approx(np.mean(means), rel=1e-13)


def test_every_element_belongs_to_its_own_class(rng):
    offsets = BASIS.offsets(NUMBERS)
    expected = {
        (0, 0): ("O on-site", "on-site"), (0, 1): ("H-O", "0.5-1"), (2, 0): ("C-O", "1-1.5"),
        (1, 2): ("H-C", "1.5-2"), (3, 0): ("H-O", "7-7.5"), (1, 3): ("H-H", "6-6.5"),
        (3, 3): ("H on-site", "on-site"),
    }  # fmt: skip
    for (i, j), (pair, distance) in expected.items():
        d = np.zeros((1, offsets[-1], offsets[-1]))
        d[0, offsets[i], offsets[j]] = d[0, offsets[j], offsets[i]] = 1.0
        found = break_down(d, NUMBERS, POSITIONS, BASIS)
        assert {pair_name(k) for k, t in found.pairs.items() if t.absolute} == {pair}
        assert {bin_name(k) for k, t in found.distances.items() if t.absolute} == {distance}


def test_the_order_of_the_atoms_does_not_matter(rng):
    d, order = random_difference(rng, NUMBERS), np.array([2, 0, 3, 1])
    offsets = BASIS.offsets(NUMBERS)
    index = np.concatenate([np.arange(offsets[a], offsets[a + 1]) for a in order])
    one = break_down(d, NUMBERS, POSITIONS, BASIS)
    other = break_down(d[:, index[:, None], index], NUMBERS[order], POSITIONS[order], BASIS)
    for classes, others in ((one.pairs, other.pairs), (one.distances, other.distances)):
        assert set(classes) == set(others)
        for key, tally in classes.items():
            assert others[key].absolute == pytest.approx(tally.absolute, rel=1e-13)


def test_a_lone_atom_is_all_on_site(rng):
    found = break_down(random_difference(rng, [6]), np.array([6]), np.zeros((1, 3)), BASIS)
    assert set(found.pairs) == {(6, 6, True)}
    assert set(found.distances) == {ON_SITE}
