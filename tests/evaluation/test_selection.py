"""On which molecules a model may be judged."""

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from helm_ase.dataset.derived_cache import may_write
from helm_ase.errors import ChargeError, DatasetError, ElementError, SettingError
from helm_ase.evaluation.selection import choose, data_sha256, select, writable_cache
from helm_ase.labels.formats import open_labels
from helm_ase.units import HARTREE_IN_EV
from shared.evaluated_models import checkpoint, write
from shared.sample_labels import TINY, write_entry

pytestmark = pytest.mark.scf


def chosen(subject, **options):
    with open_labels(subject.path) as source:
        found = select(subject.checkpoint, source, **options)
        return found, [source.name_of(int(k)) for k in found.dataset.indices]


def test_a_split_is_taken_whole_and_in_order(closed):
    found, names = chosen(closed)
    assert names == [x.name for x in closed.labels if x.split == "val"]
    assert (found.skipped, found.remarks, found.level) == (0, (), TINY)
    assert len(chosen(closed, split=None)[1]) == len(closed.labels)
    assert len(chosen(closed, split="train")[1]) == 1


def test_a_limit_takes_molecules_from_the_whole_split(closed):
    everything = chosen(closed)[1]
    names = chosen(closed, limit=3)[1]
    assert len(names) == 3
    assert (names[0], names[-1]) == (everything[0], everything[-1])
    assert chosen(closed, limit=1000)[1] == everything


@pytest.mark.parametrize("limit", [0, -3])
def test_no_molecules_are_too_few(closed, limit):
    with pytest.raises(SettingError, match=f"limit is {limit}; at least one"):
        chosen(closed, limit=limit)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(closed):
    with pytest.raises(DatasetError, match=r"split 'test', only train \(1\), val \(8\): name one"):
        chosen(closed, split="test")


def test_elements_that_the_model_does_not_know_are_named_or_left_out(closed):
    other = closed._replace(checkpoint=checkpoint(elements=(1, 8)))
    with pytest.raises(ElementError, match=r"6 of 8 molecules .*: C, F; it knows H, O, .*--skip-unknown"):
        chosen(other)
    found, names = chosen(other, skip_unknown=True)
    assert found.skipped == 6
    assert all(name.startswith("H2O") for name in names)
    with pytest.raises(DatasetError, match="no molecule is left"):
        chosen(closed._replace(checkpoint=checkpoint(elements=(7,))), skip_unknown=True)


def test_states_that_the_model_does_not_know_are_named_or_left_out(opened):
    other = opened._replace(checkpoint=checkpoint(charges=(0, 1), multiplicities=(1, 2)))
    with pytest.raises(ChargeError, match=r"6 of 12 .*multiplicity\) \[\(-2, 1\), \(-1, 1\), \(0, 3\)\]"):
        chosen(other)
    found, names = chosen(other, skip_unknown=True)
    assert found.skipped == 6
    assert {n.split("+")[0] for n in names} == {"OH", "H", "H2O"}


def test_another_level_of_theory_is_refused_unless_wanted(closed):
    other = closed._replace(checkpoint=checkpoint(level=replace(TINY, functional="b3lyp")))
    with pytest.raises(DatasetError, match=r"functional: 'pbe' and 'b3lyp'.*--other-level"):
        chosen(other)
    found, _ = chosen(other, other_level=True)
    assert found.level == TINY
    assert found.dataset.source.level == other.checkpoint.level
    assert "functional: 'pbe' and 'b3lyp'" in found.remarks[0]


def test_another_basis_is_refused_whatever_is_wanted(closed):
    other = closed._replace(checkpoint=checkpoint(level=replace(TINY, basis="def2-svp")))
    with pytest.raises(DatasetError, match="basis sto-3g; model 'tiny' predicts them in def2-svp"):
        chosen(other, other_level=True)


def test_another_grid_is_no_other_level_but_is_remarked_on(closed):
    other = closed._replace(checkpoint=checkpoint(level=replace(TINY, grid_level=3, code="PySCF 2.6")))
    found, _ = chosen(other)
    assert "grid_level: 0 and 3" in found.remarks[0]
    assert "PySCF 2.6" in found.remarks[0]


def test_another_spelling_is_no_other_level(closed):
    other = closed._replace(checkpoint=checkpoint(level=replace(TINY, functional="PBE", basis="STO3G")))
    assert chosen(other)[0].level == TINY


def test_a_file_that_states_no_level_is_taken_to_have_the_models(closed, tmp_path):
    with h5py.File(tmp_path / "groups.h5", "w") as file:
        for label in closed.labels[:3]:
            answers = {
                k: getattr(label, k) for k in ("numbers", "positions", "dipole", "hamiltonian", "forces")
            }
            rest = {"energy": label.energy / HARTREE_IN_EV, "smiles": "", "split": "val"}
            write_entry(file, label.name, answers | rest)
    found, _ = chosen(closed._replace(path=tmp_path / "groups.h5"))
    assert found.level == TINY
    assert "pbe/sto-3g, the model's, is assumed" in found.remarks[0]


def test_choosing_reads_neither_matrices_nor_the_level(closed):
    model = checkpoint(level=replace(TINY, basis="def2-svp"))
    with open_labels(closed.path) as source:
        indices, skipped = choose(model, source, "val", 5)
    assert (len(indices), skipped) == (5, 0)


def test_checksums_of_folders_see_names_and_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_text("x")
    (tmp_path / "sub" / "b").write_text("y")
    first = data_sha256(tmp_path)
    (tmp_path / "sub" / "b").write_text("z")
    second = data_sha256(tmp_path)
    (tmp_path / "sub" / "b").rename(tmp_path / "sub" / "c")
    assert len({first, second, data_sha256(tmp_path)}) == 3


def test_h0_is_not_put_into_a_folder_that_is_meant_to_stay_as_it_is(closed, tmp_path):
    """Root may write anywhere: the mode says what is meant."""
    folder = tmp_path / "shared"
    folder.mkdir()
    path = write(folder / "labels.h5", closed.labels[:2])
    out = tmp_path / "out"
    assert may_write(folder / "new.cache")
    assert writable_cache(path, out) is None
    folder.chmod(0o555)
    try:
        assert not may_write(folder / "new.cache")
        assert writable_cache(path, out) == out
        assert writable_cache(path, None) is None
        with open_labels(path) as source:
            found = select(closed.checkpoint, source).prepare()
            assert np.isfinite(found.dataset[0].baseline.numpy()).all()
        assert os.listdir(folder) == ["labels.h5"]
        with open_labels(path) as source:
            select(closed.checkpoint, source, cache=writable_cache(path, out)).prepare()
        assert len(list(Path(out).glob("*.cache"))) == 1
    finally:
        folder.chmod(0o755)
