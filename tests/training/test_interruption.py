"""Runs that are killed or shared by processes end as one that was left alone."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

from helm_ase.cli import main
from helm_ase.training.configuration import to_yaml
from helm_ase.training.curves import read_log, read_stages
from helm_ase.training.recipe import Compute, RateSettings
from helm_ase.training.run import train
from shared.sample_labels import write_labels
from shared.small_recipes import recipe, stage

pytestmark = pytest.mark.scf
PLATEAU = RateSettings("plateau", warmup_steps=4)
STAGES = (stage("hamiltonian", 3), stage("joint", 6, rate=PLATEAU))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    write_labels(path)
    return path


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    return train(recipe(data, tmp_path_factory.mktemp("whole"), *STAGES))


def command(folder, stages=STAGES, **more):
    path = folder / "recipe.input.yaml"
    path.write_text(to_yaml(recipe(more.pop("data"), folder, *stages, **more)))
    return [sys.executable, "-m", "helm_ase.cli", "train", str(path)]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def curve(folder):
    """Rows of the log by stage and epoch, without the clock."""
    rows = {(k, row["epoch"]): row for k, stage_ in enumerate(read_stages(folder)) for row in stage_}
    return {key: {k: v for k, v in row.items() if k != "minutes"} for key, row in rows.items()}


def wait_for(found, process, seconds=300):
    end = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)


def start(folder, data):
    return subprocess.Popen(
        command(folder, data=data),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended_process(folder, data, sent, stage_, epochs):
    """Exit code and errors of the command, to which a signal was sent after so many epochs of a stage."""
    process = start(folder, data)
    wait_for(lambda: len(read_log(folder / stage_)) >= epochs, process)
    process.send_signal(sent)
    _, printed = process.communicate(timeout=300)
    return process.returncode, printed


def ended_here(folder, data, sent, stage_, epochs, capsys):
    """The same in this process, which need not import everything anew."""
    over = threading.Event()

    def send():
        while not over.wait(0.005):
            if len(read_log(folder / stage_)) >= epochs:
                os.kill(os.getpid(), sent)
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        code = main(command(folder, data=data)[3:])
    finally:
        over.set()
        thread.join()
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("ends", "code", "here"),
    [
        (signal.SIGTERM, 143, True),
        pytest.param(signal.SIGTERM, 143, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, False, marks=pytest.mark.slow),
    ],
)
def test_killed_told_to_end_and_resumed_to_the_last_digit(data, whole, tmp_path, capsys, ends, code, here):
    """SIGKILL cannot be answered; SIGINT and SIGTERM are, with a line that says how to go on."""
    ended_process(tmp_path, data, signal.SIGKILL, "0", 2)
    asked = (tmp_path, data, ends, "1", 3)
    found, printed = ended_here(*asked, capsys) if here else ended_process(*asked)
    assert found == code
    assert "the same command goes on from the last epoch" in printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert not (tmp_path / "1" / "finished").exists()
    assert main(command(tmp_path, data=data)[3:]) == 0

    assert curve(tmp_path) == curve(whole.parent)
    a, b = load_file(whole), load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow  # half a minute of two processors
def test_two_processes_give_the_weights_of_one(data, tmp_path):
    """One stage suffices: what they share, they share in every batch."""
    settings = {"data": data, "compute": Compute(devices=2, progress_bar=False)}
    stages = (stage("joint", 2, rate=PLATEAU),)
    together, alone = tmp_path / "two", tmp_path / "one"
    together.mkdir()
    subprocess.run(command(together, stages, **settings), env=environment(), check=True, capture_output=True)
    theirs = load_file(together / "model.safetensors")
    for key, value in load_file(train(recipe(data, alone, *stages))).items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=3e-5, msg=key)
    rows = curve(together)
    for key, row in curve(alone).items():
        for name, value in row.items():
            assert float(rows[key][name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), (key, name)
