"""The scripts of examples/crystals: the structures they label, and what they measure of graphene's cone."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from ase.build import graphene
from ase.neighborlist import neighbor_list

FOLDER = Path(__file__).parents[1] / "examples" / "crystals"


@pytest.fixture
def labels(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("carbon_labels")


@pytest.fixture
def evaluate(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("carbon_evaluate")


@pytest.mark.parametrize(
    ("kind", "atoms", "dimensions", "neighbours"),
    [
        ("graphene", 2, 2, 3), ("diamond", 2, 3, 4), ("chain", 2, 1, 2), ("polyacetylene", 4, 1, None),
        ("lonsdaleite", 4, 3, 4), ("sheet", 18, 2, 3), ("nanotube", 20, 1, 3), ("armchair", 12, 1, 3),
    ],
)  # fmt: skip
def test_kinds_are_what_their_names_say(labels, kind, atoms, dimensions, neighbours):
    made = labels.crystal(kind, np.random.default_rng(0))
    assert (len(made), made.pbc.sum()) == (atoms, dimensions)
    first, distances = neighbor_list("id", made, 1.75)
    assert distances.min() > 1.0
    if neighbours:
        assert np.bincount(first).tolist() == [neighbours] * atoms
    else:  # two bonds between carbons and one to hydrogen
        assert np.bincount(first).tolist() == [3, 3, 1, 1]


def test_a_frame_depends_on_kind_and_number_alone(labels):
    for kind in labels.COUNTS:
        one, again = labels.frame(kind, 3), labels.frame(kind, 3)
        assert np.array_equal(one.positions, again.positions)
        assert np.array_equal(one.cell.array, again.cell.array)
        assert not np.allclose(one.cell.array, labels.frame(kind, 4).cell.array) or kind == "ideal"


def test_strains_and_displacements_are_as_stated(labels):
    stretches = []
    for number in range(60):
        made, still = labels.frame("graphene", number), graphene(a=2.46)
        np.testing.assert_array_equal(made.cell.array[:, 2], 0)
        stretch = np.linalg.solve(still.cell.array[:2, :2], made.cell.array[:2, :2])
        stretches.append(stretch - np.eye(2))
    np.testing.assert_allclose(stretches, np.swapaxes(stretches, 1, 2), atol=1e-12)
    assert 0.9 * labels.STRAIN < np.abs(stretches).max() <= labels.STRAIN


def test_every_fifth_frame_is_for_validation_and_other_kinds_for_the_test(labels):
    assert [labels.split_of("diamond", n) for n in range(5)] == ["train"] * 4 + ["val"]
    assert {labels.split_of(kind, n) for kind in labels.UNSEEN for n in range(5)} == {"test"}
    order = labels.order_of({"graphene": 4, "diamond": 2})
    assert sorted(order) == [("diamond", 0), ("diamond", 1), *(("graphene", n) for n in range(4))]
    assert {kind for kind, _ in order[:2]} == {"graphene", "diamond"}


def test_the_cone_of_a_known_model_is_found(evaluate):
    """Nearest neighbours: the levels meet at K, and ħv = √3/2 · a · t."""
    cell, hopping = graphene(a=2.46).cell, 2.7

    def levels(k):
        gap = hopping * np.abs(1 + np.exp(2j * np.pi * k[:, 0]) + np.exp(-2j * np.pi * k[:, 1]))
        return np.stack([0 * gap - 9, 0 * gap - 8, 0 * gap - 7, -gap, gap, 0 * gap + 9], 1)

    apart, slope = evaluate.cone(levels, cell)
    assert apart < 1e-12
    assert slope == pytest.approx(np.sqrt(3) / 2 * 2.46 * hopping, rel=1e-3)
