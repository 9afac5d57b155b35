"""Environments of crystals: what lies farther from training than any validation frame is extrapolation."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

from helm_ase import ExtrapolationWarning, HELMCalculator
from helm_ase.checkpoint import environments
from helm_ase.checkpoint.environments import in_units, remoteness
from helm_ase.checkpoint.format import read_checkpoint, save_checkpoint
from helm_ase.checkpoint.uncertainty import read_uncertainty, save_uncertainty
from helm_ase.cli import main
from helm_ase.errors import CheckpointError, PredictionError, SettingError
from helm_ase.evaluation.environments import SPACING, Frame, record_environments
from helm_ase.labels.crystals import write_crystals
from helm_ase.prediction.environments import unknown_environments
from helm_ase.prediction.verdict import Trust
from helm_ase.representation.bond_kinds import AtomKind, atom_kinds, bond_kinds
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


def atoms_of(x):
    return Atoms(x.numbers, x.positions, cell=x.lattice.cell, pbc=x.lattice.pbc)


def dimerised(apart=1.0):
    return Atoms("C2", [[0, 0, 0], [apart, 0, 0]], cell=[2.6, 0, 0], pbc=[True, False, False])


def test_training_is_near_and_the_farthest_of_validation_is_the_unit(recorded):
    found = {x.split: [] for x in LABELS}
    for x in LABELS:
        found[x.split].append(remoteness(recorded, x.numbers, x.positions, x.lattice))
    smallest = min(unit for *_, unit in recorded.uncertainty.facts["units"])
    assert max(found["train"]) < SPACING / smallest + 0.01  # one stands for its neighbours
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
    farthest = max((x for x in LABELS if x.split == "val"), key=lambda x: far(recorded, atoms_of(x)))
    for cells in (1, 2, 3):  # the frame that is the unit, in any cell
        assert unknown_environments(atoms_of(farthest).repeat((cells, 1, 1)), recorded) == []


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
    with pytest.warns(ExtrapolationWarning, match="as any of their kind in 20 unseen frames"):
        calc.get_real_space_hamiltonian(strange)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.get_hamiltonian(strange, kpt=(0, 0, 0))
    verdict = calc.get_verdict(strange)
    assert verdict.trust is Trust.EXTRAPOLATING
    assert "environments of atoms" in str(verdict)


def test_every_kind_of_atom_has_a_unit_of_its_own():
    units = {AtomKind(6, 2, 0): 4.0, AtomKind(6, 4, 0): 1.0}
    assert in_units({AtomKind(6, 2, 0): 2.0}, units) == 0.5
    assert in_units({AtomKind(6, 2, 0): 2.0, AtomKind(6, 4, 0): 2.0}, units) == 2.0
    assert in_units({AtomKind(6, 3, 1): 2.0}, units) == 0.5  # none: the largest


def test_kinds_of_atoms_and_bonds_are_read_off_a_crystal():
    atoms = Atoms(
        "C2H2", [(0, 0, 0), (1.3, 0, 0), (0, 1.1, 0), (1.3, -1.1, 0)], cell=[2.6, 0, 0], pbc=[1, 0, 0]
    )
    lattice = Lattice.of_atoms(atoms)
    kinds = atom_kinds(atoms.numbers, atoms.positions, lattice)
    assert kinds == [(6, 3, 1), (6, 3, 1), (1, 1, 0), (1, 1, 0)]
    assert bond_kinds(atoms.numbers, atoms.positions, lattice) == {(1, 1, 6, 3), (6, 3, 6, 3)}


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
    model, frames = checkpoint(predicts=predicts), [Frame(x.numbers, x.positions, x.lattice) for x in LABELS]
    with pytest.raises(SettingError, match=message):
        record_environments(model, frames[:train], frames[12 : 12 + validation])


def test_files_of_crystals_and_of_molecules_are_not_mixed(path, tmp_path, capsys):
    (tmp_path / "molecules.h5").write_bytes(b"")
    write_crystals(tmp_path / "crystals.h5", LABELS[:1], LEVEL)
    files = [str(tmp_path / name) for name in ("crystals.h5", "molecules.h5")]
    assert main(["calibrate", str(path), *files]) == 1
    assert "a model knows one or the other" in capsys.readouterr().err
    assert main(["calibrate", str(path), files[0], "--fock", "20"]) == 1
    assert "--fock is for molecules only" in capsys.readouterr().err
    assert main(["calibrate", "helm-hcnof-2", files[0], "-o", str(tmp_path / "x")]) == 1
    assert "another level of theory" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_model_of_molecules_records_no_crystals():
    frames = [Frame(x.numbers, x.positions, x.lattice) for x in LABELS]
    with pytest.raises(SettingError, match="knows molecules"):
        record_environments(checkpoint(predicts=("hamiltonian",), dimensions=(0,)), frames[:12], frames[12:])


def test_frames_that_are_all_alike_tell_nothing():
    model = checkpoint(predicts=("hamiltonian",))
    cell = Lattice.of_atoms(Atoms("C", cell=[1.3, 0, 0], pbc=[True, False, False]))
    one = Frame(np.array([6]), np.zeros((1, 3)), cell)
    with pytest.raises(SettingError, match="alike"):
        record_environments(model, [one] * 3, [one] * 20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bonds": [[6, 2]]}, {"bonds": [[6, 2, 6, "2"]]}, {"bonds": [[6, 2, 6, -1]]}, {"bonds": 3},
        {"bonds": [6]}, {"units": []}, {"units": [[6, 2, 0]]}, {"units": [[6, 2, 0, 0.0]]},
        {"units": [[6, 2, 0, float("nan")]]}, {"units": [[6, 2, 0, "x"]]}, {"units": 1.0},
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(recorded, tmp_path, wrong):
    bad = replace(recorded.uncertainty, facts=dict(recorded.uncertainty.facts) | wrong)
    save_uncertainty(bad, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="not an error bar"):
        read_uncertainty(tmp_path / "x.safetensors", recorded.sha256)


def test_features_that_are_not_finite_are_an_error(recorded, monkeypatch):
    monkeypatch.setattr(environments, "atomic_features", lambda *_: torch.full((2, 16), float("nan")))
    with pytest.raises(PredictionError, match="not finite"):
        far(recorded, chain())
