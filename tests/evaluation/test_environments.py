"""Environments of crystals: what lies farther from training than any validation frame is extrapolation."""

import warnings

import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from helm_ase import ExtrapolationWarning, HELMCalculator
from helm_ase.checkpoint.environments import remoteness
from helm_ase.checkpoint.format import read_checkpoint, save_checkpoint
from helm_ase.cli import main
from helm_ase.errors import SettingError
from helm_ase.evaluation.environments import SPACING, record_environments
from helm_ase.labels.crystals import write_crystals
from helm_ase.prediction.environments import unknown_environments
from helm_ase.prediction.verdict import Trust
from helm_ase.representation.lattice import Lattice
from shared.crystal_labels import LEVEL, chain, checkpoint, label

LABELS = [label(k, split="train" if k < 12 else "val") for k in range(32)]
"""Polyyne, rattled by 0.05 Å."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """File of a model of Hamiltonians that knows its training set, by the command."""
    folder = tmp_path_factory.mktemp("model")
    path = folder / "chains.safetensors"
    save_checkpoint(checkpoint(predicts=("hamiltonian",)), path)
    write_crystals(folder / "labels.h5", LABELS, LEVEL)
    assert main(["calibrate", str(path), str(folder / "labels.h5")]) == 0
    return path


@pytest.fixture(scope="module")
def recorded(path):
    return read_checkpoint(path)


def far(model, atoms):
    return remoteness(model, atoms.numbers, atoms.positions, Lattice.of_atoms(atoms))


def dimerised(apart=1.0):
    return Atoms("C2", [[0, 0, 0], [apart, 0, 0]], cell=[2.6, 0, 0], pbc=[True, False, False])


def test_training_is_near_and_the_farthest_of_validation_is_the_unit(recorded):
    found = {x.split: [] for x in LABELS}
    for x in LABELS:
        found[x.split].append(remoteness(recorded, x.numbers, x.positions, x.lattice))
    assert max(found["train"]) < SPACING * recorded.uncertainty.scale + 0.01  # one stands for its neighbours
    assert max(found["val"]) == pytest.approx(1)
    assert far(recorded, dimerised()) > 2


def test_it_is_a_function_of_the_crystal_not_of_its_description(recorded):
    atoms = chain(40)
    expected = far(recorded, atoms)
    turned, turn = atoms.copy(), Rotation.random(random_state=1).as_matrix()
    turned.positions = turned.positions @ turn.T + 3.0
    turned.cell = turned.cell.array @ turn.T
    for other in (turned, atoms[::-1], atoms.repeat((3, 1, 1))):
        assert far(recorded, other) == pytest.approx(expected, abs=1e-4)


def test_one_strange_atom_among_many_counts(recorded):
    long = dimerised(1.3).repeat((12, 1, 1))
    before = far(recorded, long)
    long.positions[7, 0] += 0.3
    assert far(recorded, long) > max(1.0, 2 * before)


def test_a_missing_atom_shows_in_the_kinds_of_bonds(recorded):
    whole = Atoms("C2", [[0, 0, 0], [1.3, 0, 0]], cell=[2.6, 0, 0], pbc=[True, False, False])
    long = whole.repeat((6, 1, 1))
    assert unknown_environments(long, recorded) == []
    del long[3]
    faults = unknown_environments(long, recorded)
    assert "C with 1 neighbour bonded to C with 2 neighbours: never so in training" in str(faults)
    assert len({fault.key for fault in faults}) == len(faults)
    alone = Atoms("C", cell=[7.0, 0, 0], pbc=[True, False, False])
    assert "C without bonds: never so in training" in str(unknown_environments(alone, recorded))


def test_the_verdict_names_it_and_it_is_warned_of_once(path):
    calc = HELMCalculator(model=str(path), kpts=(2, 1, 1))
    ordinary, strange = chain(0), dimerised()
    for atoms in (ordinary, strange):
        atoms.calc = calc
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.get_hamiltonian(ordinary, kpt=(0, 0, 0))
    assert calc.get_verdict(ordinary).trust is Trust.TRUSTED
    with pytest.warns(ExtrapolationWarning, match="times as far from those of training as any of 20 frames"):
        calc.get_real_space_hamiltonian(strange)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.get_hamiltonian(strange, kpt=(0, 0, 0))
    verdict = calc.get_verdict(strange)
    assert verdict.trust is Trust.EXTRAPOLATING
    assert "environments of atoms" in str(verdict)


def test_without_a_record_nothing_is_said():
    assert far(checkpoint(predicts=("hamiltonian",)), chain()) is None


@pytest.mark.parametrize(
    ("predicts", "train", "validation", "message"),
    [
        (("energy", "hamiltonian"), 12, 20, "predicts energies"),
        (("hamiltonian",), 0, 20, "no training frames"),
        (("hamiltonian",), 12, 3, "3 validation frames are too few"),
    ],
)
def test_what_tells_nothing_is_refused(predicts, train, validation, message):
    model = checkpoint(predicts=predicts)
    with pytest.raises(SettingError, match=message):
        record_environments(model, LABELS[:train], LABELS[12 : 12 + validation])


def test_files_of_crystals_and_of_molecules_are_not_mixed(path, tmp_path, capsys):
    (tmp_path / "molecules.h5").write_bytes(b"")
    write_crystals(tmp_path / "crystals.h5", LABELS[:1], LEVEL)
    files = [str(tmp_path / name) for name in ("crystals.h5", "molecules.h5")]
    assert main(["calibrate", str(path), *files]) == 1
    assert "molecules" in capsys.readouterr().err
