"""Files that appear whole or not at all."""

import os
import threading

import pytest

from helm_ase.errors import SettingError
from helm_ase.system.atomic_write import whole_file


def test_a_file_appears_when_it_is_complete_and_not_before(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.suffix == ".txt"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with whole_file(path) as partial:
            partial.write_text("half")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_links_are_followed_and_what_is_no_file_is_left_alone(tmp_path):
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    target.write_text("old")
    link.symlink_to(target)
    with whole_file(link) as partial:
        partial.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(SettingError, match="is not a file"), whole_file(path):
            pass
    assert pipe.is_fifo()


def test_threads_that_write_one_path_do_not_meet(tmp_path):
    path, together = tmp_path / "a.txt", threading.Barrier(4)

    def write(k):
        with whole_file(path) as partial:
            together.wait()
            partial.write_text(str(k) * 1000)
            together.wait()

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(path.read_text())) == 1
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_have_the_permissions_of_any_new_file(tmp_path, umask):
    path, private = tmp_path / "new.bin", 0o600
    before = os.umask(umask)
    try:
        with whole_file(path) as partial:
            partial.write_text("x")
            partial.chmod(private)  # as safetensors does
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text("old")
    path.chmod(0o640)
    with whole_file(path) as partial:
        partial.write_text("new")
    assert path.stat().st_mode & 0o777 == 0o640
