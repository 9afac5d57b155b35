"""``helm-ase data`` at the command line."""

import json
from dataclasses import asdict, replace

import h5py
import numpy as np
import pytest

from helm_ase.cli import main
from helm_ase.labels.formats import open_labels, readers
from helm_ase.labels.writer import LabelWriter
from shared.sample_labels import TINY, write_labels
from shared.stored_labels import invented, write

pytestmark = pytest.mark.scf
LEVEL = [f"--level={k}={v}" for k, v in asdict(TINY).items() if k != "label_basis"]  # which models have


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Ten real labels in the layout of one group per structure."""
    path = tmp_path_factory.mktemp("labels") / "groups.h5"
    write_labels(path)
    return path


@pytest.fixture
def own(groups, tmp_path, capsys):
    path = tmp_path / "own.h5"
    assert run("convert", groups, path, *LEVEL) == 0
    capsys.readouterr()
    return path


def run(*arguments):
    return main(["data", *map(str, arguments)])


def refused(capsys, *arguments):
    assert run(*arguments) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("helm-ase: ")
    assert "Traceback" not in printed.err
    return printed.err


# --- info ---------------------------------------------------------------------------------------------


def test_info_says_what_a_file_holds(own, capsys):
    assert run("info", own) == 0
    printed = capsys.readouterr().out
    for words in ("helm_h5", "molecules            10", "pbe", "sto-3g", "atoms                2 to 5"):
        assert words in printed
    for words in ("H 26 in 10 molecules", "+0/1: 10", "train: 7, val: 3", "hamiltonian: 10", "forces: 10"):
        assert words in printed


def test_info_agrees_between_formats(own, groups, capsys):
    assert run("info", own, "--json") == 0
    assert run("info", groups, "--json", *LEVEL) == 0
    out = capsys.readouterr().out
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(out)
    second, _ = decoder.raw_decode(out[end:].lstrip())
    same = set(first[0]) - {"path", "format", "bytes"}
    assert {k: first[0][k] for k in same} == {k: second[0][k] for k in same}


def test_info_of_an_empty_file(tmp_path, capsys):
    assert run("info", write(tmp_path / "empty.h5", [])) == 0
    assert "molecules            0" in capsys.readouterr().out


def test_formats_are_listed(capsys):
    assert run("info", "--formats") == 0
    printed = capsys.readouterr().out
    for name, module in readers().items():
        assert name in printed
        assert module.DESCRIPTION in printed
    assert run("info", "--formats", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == set(readers())


def test_info_without_a_file_says_what_to_do(capsys):
    assert "--formats" in refused(capsys, "info")


@pytest.mark.parametrize("action", ["info", "check"])
def test_missing_and_foreign_files_are_named(tmp_path, capsys, action):
    assert "absent.h5 does not exist" in refused(capsys, action, tmp_path / "absent.h5")
    path = tmp_path / "foreign.h5"
    path.write_text("text")
    assert "foreign.h5 is in no known format" in refused(capsys, action, path)


def test_options_must_suit_the_format(own, groups, capsys):
    assert "allowed: fields" in refused(capsys, "info", own, "--option", "level=1")
    assert "KEY=VALUE" in refused(capsys, "info", own, "--option", "level")
    assert "no field flavour" in refused(capsys, "info", groups, "--level", "flavour=up")
    assert "like True" in refused(capsys, "info", groups, "--level", "density_fitting=perhaps")
    assert "unknown format 'docx'" in refused(capsys, "info", own, "--format", "docx")


# --- check --------------------------------------------------------------------------------------------


def test_check_passes_good_labels(own, capsys):
    assert run("check", own, "--rebuild", 2) == 0
    printed = capsys.readouterr().out
    assert "FAILED" not in printed
    for name in ("dipole", "rebuilt Fock, mean", "duplicates", "net force"):
        assert name in printed


def test_check_fails_with_the_level_that_is_not_that_of_the_labels(groups, capsys):
    wrong = [x.replace("pbe", "b3lyp") for x in LEVEL]
    assert run("check", groups, "--rebuild", 1, *wrong) == 1
    printed = capsys.readouterr()
    assert "rebuilt Fock, mean" in printed.err
    assert "FAILED" in printed.out


def test_check_as_json_names_the_entries_that_fail(own, capsys):
    with h5py.File(own, "a") as file:
        file["dipole"][3] += 0.5
    assert run("check", own, "--json") == 1
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    failed = [c for c in report["checks"] if not c["passed"]]
    assert [c["name"] for c in failed] == ["dipole"]
    assert failed[0]["failed"][0].startswith("000003 (0.5")
    assert not report["passed"]
    assert "own.h5 fails 1 of" in printed.err


def test_a_sample_is_as_large_as_asked_for(own, capsys):
    assert run("check", own, "--sample", 4, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["molecules"], report["sampled"]) == (10, 4)


# --- convert and merge --------------------------------------------------------------------------------


def test_a_converted_file_holds_the_same(own, groups):
    with open_labels(own) as new, open_labels(groups, level=TINY) as old:
        assert new.level == old.level
        assert len(new) == len(old) == 10
        for a, b in zip(new, old, strict=True):
            assert (a.name, a.smiles, a.split, a.key) == (b.name, b.smiles, b.split, b.key)
            assert a.energy == pytest.approx(b.energy, abs=1e-12)
            np.testing.assert_array_equal(a.hamiltonian, b.hamiltonian)
            np.testing.assert_allclose(a.forces, b.forces, atol=1e-12)


def test_a_limit_stops_the_conversion(groups, tmp_path, capsys):
    path = tmp_path / "three.h5"
    assert run("convert", groups, path, "--limit", 3, "--float32", *LEVEL) == 0
    assert "three.h5: 3 molecules" in capsys.readouterr().out
    with open_labels(path) as source, h5py.File(path) as file:
        assert len(source) == 3
        assert file["hamiltonian/values"].dtype == np.float32


def test_files_are_replaced_only_by_force(own, tmp_path, capsys):
    target = tmp_path / "other.h5"
    target.write_bytes(before := own.read_bytes())
    assert "--force" in refused(capsys, "convert", own, target)
    assert target.read_bytes() == before
    assert run("convert", own, target, "--force", "--limit", 2) == 0
    with open_labels(target) as source:
        assert len(source) == 2


def test_a_damaged_entry_stops_the_conversion_without_a_trace(own, tmp_path, capsys):
    with h5py.File(own, "a") as file:
        file["hamiltonian"]["values"][-1] = np.nan
    target = tmp_path / "new" / "copy.h5"
    assert "own.h5, entry 000009" in refused(capsys, "convert", own, target)
    assert list(target.parent.iterdir()) == []


def test_a_matrix_that_does_not_fit_the_level_names_file_and_entry(groups, tmp_path, capsys):
    message = refused(capsys, "convert", groups, tmp_path / "wrong.h5")  # def2-SVP, if nobody says otherwise
    assert "groups.h5, entry 000000" in message
    assert "def2-svp" in message
    assert not (tmp_path / "wrong.h5").exists()


def test_merging_skips_duplicates_and_renames_namesakes(tmp_path, capsys):
    first = write(tmp_path / "first.h5", [invented(1), invented(2)])
    again = [replace(invented(2), name="once more"), replace(invented(3), name=invented(1).name)]
    second = write(tmp_path / "second.h5", again)
    assert run("merge", first, second, "-o", tmp_path / "both.h5") == 0
    assert "3 molecules (1 duplicates skipped, 1 renamed)" in capsys.readouterr().out
    with open_labels(tmp_path / "both.h5") as source:
        assert [x.name for x in source] == ["entry 1 µ", "entry 2 µ", "second/entry 1 µ"]


def test_merging_levels_is_refused_with_what_differs(own, tmp_path, capsys):
    path = tmp_path / "other.h5"
    with LabelWriter(path, replace(TINY, functional="b3lyp", grid_level=3)) as writer:
        writer.add(invented(1))
    message = refused(capsys, "merge", own, path, "-o", tmp_path / "both.h5")
    assert f"functional: 'pbe' in {own.name} and 'b3lyp' in other.h5" in message
    assert not (tmp_path / "both.h5").exists()


def test_grids_and_thresholds_may_differ_as_in_training_and_are_named(tmp_path, capsys):
    first = write(tmp_path / "first.h5", [invented(1)])
    second = tmp_path / "second.h5"
    with LabelWriter(second, replace(TINY, grid_level=3, basis=TINY.basis.upper())) as writer:
        writer.add(invented(2))
    assert run("merge", first, second, "-o", tmp_path / "both.h5") == 0
    assert f"grid_level: {TINY.grid_level} and 3" in capsys.readouterr().out
    with open_labels(tmp_path / "both.h5") as source:
        assert source.level == TINY
        assert len(source) == 2


# --- split --------------------------------------------------------------------------------------------


def smiles_of(prefix):
    found = {}
    for path in prefix.parent.glob(f"{prefix.name}.*.h5"):
        with open_labels(path) as source:
            part = path.name.split(".")[-2]
            assert {x.split for x in source} == {part}
            found[part] = [x.smiles for x in source]
    return found


def test_a_split_keeps_molecules_together_and_loses_nothing(own, tmp_path, capsys):
    assert run("split", own, "-o", tmp_path / "set", "--val", 0.2, "--test", 0.2) == 0
    found = smiles_of(tmp_path / "set")
    assert set(found) == {"train", "val", "test"}
    assert sum(map(len, found.values())) == 10
    assert not set(found["train"]) & set(found["val"])
    assert not set(found["train"] + found["val"]) & set(found["test"])
    assert "set.train.h5: " in capsys.readouterr().out


def test_a_split_by_frame_must_be_asked_for(own, tmp_path):
    assert run("split", own, "-o", tmp_path / "set", "--by", "frame", "--val", 0.3, "--test", 0) == 0
    assert {part: len(x) for part, x in smiles_of(tmp_path / "set").items()} == {"train": 7, "val": 3}


def test_a_split_by_hash_keeps_small_molecules_in_training(own, tmp_path, capsys):
    assert run("split", own, "-o", tmp_path / "set", "--by", "hash") == 0
    assert set(smiles_of(tmp_path / "set")) == {"train"}
    assert "test: 0 molecules, no file" in capsys.readouterr().out


def test_splits_that_make_no_sense_are_refused(own, tmp_path, capsys):
    prefix = ["-o", tmp_path / "set"]
    assert "allowed: molecule, hash" in refused(capsys, "split", own, *prefix, "--by", "luck")
    assert "has no split 'ood'" in refused(capsys, "split", own, *prefix, "--by", "official:ood")
    assert "shares" in refused(capsys, "split", own, *prefix, "--val", 0.9, "--test", 0.2)
    assert run("split", own, *prefix) == 0
    assert "exists already" in refused(capsys, "split", own, *prefix)
