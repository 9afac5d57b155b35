"""Long work on a disk that fills up: what is finished stays, the rest is said in one sentence."""

import os
import resource
import subprocess
import sys

import pytest
from ase.build import molecule
from ase.io import write as write_structures

from shared.bounded_process import readable
from shared.sample_labels import write_labels
from shared.small_recipes import recipe, stage

pytestmark = [pytest.mark.slow, pytest.mark.scf]
ROOM = (500, 3_000, 20_000, 60_000, 200_000)
"""Bytes to which files may grow: something else fails at each."""


def helm_ase(arguments, folder, room=None):
    def limit():
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return subprocess.run(
        [sys.executable, "-m", "helm_ase.cli", *map(str, arguments)], cwd=folder, preexec_fn=limit,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def told(done):
    """The last line of what was said, which must be all that is needed."""
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    return readable(done.stderr.replace("\r", "\n").splitlines()[-1])


@pytest.mark.parametrize("room", ROOM)
def test_training_says_so_and_goes_on_when_there_is_room(room, tmp_path):
    from helm_ase.training.configuration import to_yaml

    write_labels(tmp_path / "labels.h5")
    made = recipe(tmp_path / "labels.h5", tmp_path / "run", stage("hamiltonian", 2))
    (tmp_path / "recipe.yaml").write_text(to_yaml(made))
    done = helm_ase(["train", "recipe.yaml"], tmp_path, room)
    assert done.returncode in (0, 1), (done.returncode, done.stderr[-3000:])
    if done.returncode:
        assert "File too large" in told(done) or "cannot be written" in told(done)
    again = helm_ase(["train", "recipe.yaml"], tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("room", ROOM[:4])
def test_labelling_says_so_and_goes_on_when_there_is_room(room, tmp_path):
    frames = [molecule(name) for name in ("H2O", "NH3", "HF")]
    write_structures(tmp_path / "in.xyz", frames)
    level = ["--xc", "pbe", "--basis", "sto-3g", "--grid", "0"]
    arguments = ["label", "in.xyz", "-o", "out.h5", "--workers", "1", "--quiet", *level]
    done = helm_ase(arguments, tmp_path, room)
    assert done.returncode in (0, 1), (done.returncode, done.stderr[-3000:])
    if done.returncode:
        assert "File too large" in told(done)
    again = helm_ase(arguments, tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "3" in helm_ase(["data", "info", "out.h5"], tmp_path).stdout


CASES = [*(f"train, {room} bytes" for room in ROOM), *(f"label, {room} bytes" for room in ROOM[:4])]
