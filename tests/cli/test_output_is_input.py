"""An output that is also the input is refused by every command, and the input is still there."""

import pytest
from ase.build import molecule
from ase.io import write

from helm_ase.cli import main
from helm_ase.errors import SettingError
from helm_ase.system.atomic_write import check_apart

COMMANDS = {
    "run -o": ["run", "in.xyz", "-o", "in.xyz"],
    "run -o frame": ["run", "in.xyz@0", "-o", "in.xyz"],
    "run --levels": ["run", "in.xyz", "--levels", "in.xyz"],
    "run --trajectory": ["run", "in.traj", "--md", "2", "--trajectory", "in.traj"],
    "report": ["report", "in.xyz", "-o", "./in.xyz"],
    "report link": ["report", "in.xyz", "-o", "link.xyz"],
    "report hard link": ["report", "in.xyz", "-o", "hard.xyz"],
    "sample": ["sample", "in.xyz", "-o", "in.xyz"],
    "sample, what is dropped": ["sample", "a.xyz.dropped.jsonl", "-o", "a.xyz"],
    "label": ["label", "in.xyz", "-o", "in.xyz"],
    "convert": ["data", "convert", "in.h5", "in.h5", "--force"],
    "merge": ["data", "merge", "other.h5", "in.h5", "-o", "in.h5", "--force"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in.xyz", "in.traj"):
        write(name, molecule("H2O"))
    for name in ("in.h5", "other.h5", "a.xyz.dropped.jsonl"):
        (tmp_path / name).write_bytes(b"labels")
    (tmp_path / "link.xyz").symlink_to("in.xyz")
    (tmp_path / "hard.xyz").hardlink_to("in.xyz")
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_the_input_is_refused_as_output_and_stays_as_it_is(name, folder, capsys):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(COMMANDS[name]) == 1
    assert "is also read: give the output a name of its own" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_two_outputs_may_not_be_one_file(folder):
    with pytest.raises(SettingError, match="also another output"):
        check_apart(["new", None, "./new"], ["in.xyz", None])
    check_apart(["new", "newer"], ["in.xyz"])


def test_a_report_needs_a_folder_before_anything_is_computed(folder, capsys):
    assert main(["report", "in.xyz", "-o", "none/x.html"]) == 1
    assert "there is no folder none" in capsys.readouterr().err
