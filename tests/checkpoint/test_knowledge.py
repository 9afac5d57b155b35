"""What a model knows is decided in one place."""

from helm_ase.checkpoint import load_model
from helm_ase.checkpoint.knowledge import EVERYTHING, Knowledge

KNOWS = Knowledge((1, 6, 8), (0, 1), (1, 2), frozenset({"energy"}))


def test_a_molecule_is_admitted_if_every_element_and_its_state_occurred():
    assert KNOWS.admits([8, 1, 1], 0, 1)
    assert KNOWS.admits([6], 1, 2)
    assert not KNOWS.admits([7, 1], 0, 1)
    assert not KNOWS.admits([8, 1], -1, 1)
    assert not KNOWS.admits([8, 1], 0, 3)
    assert KNOWS.unknown_elements([9, 1, 7, 9]) == (7, 9)


def test_a_checkpoint_knows_what_its_header_says():
    checkpoint = load_model()
    knows = checkpoint.knows
    assert knows.elements == checkpoint.basis.elements
    assert knows.elements == (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53)
    assert (knows.charges, knows.multiplicities) == ((-2, -1, 0, 1, 2), (1, 2, 3, 4))
    assert knows.predicts == checkpoint.predicts == frozenset(EVERYTHING)
    assert knows.dimensions == (0,)
