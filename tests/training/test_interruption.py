"""Runs that are killed or shared by processes end as one that was left alone."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from helm_ase.training.configuration import to_yaml
from helm_ase.training.curves import read_log, read_stages
from helm_ase.training.recipe import Compute, RateSettings
from helm_ase.training.run import train
from shared.sample_labels import write_labels
from shared.small_recipes import recipe, stage

pytestmark = pytest.mark.scf
STAGES = (stage("hamiltonian", 3), stage("joint", 6, rate=RateSettings("plateau", warmup_steps=4)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    write_labels(path)
    return path


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    return train(recipe(data, tmp_path_factory.mktemp("whole"), *STAGES))


def command(folder, **more):
    path = folder / "recipe.input.yaml"
    path.write_text(to_yaml(recipe(more.pop("data"), folder, *STAGES, **more)))
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


def test_killed_twice_and_resumed_to_the_last_digit(data, whole, tmp_path):
    folder = tmp_path / "killed"
    folder.mkdir()
    for stage_, epochs in (("0", 2), ("1", 3)):
        process = subprocess.Popen(
            command(folder, data=data),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda k=stage_, n=epochs: len(read_log(folder / k)) >= n, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "1" / "finished").exists()
    subprocess.run(command(folder, data=data), env=environment(), check=True, capture_output=True)

    assert curve(folder) == curve(whole.parent)
    a, b = load_file(whole), load_file(folder / "model.safetensors")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_two_processes_give_the_weights_of_one(data, whole, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    subprocess.run(
        command(folder, data=data, compute=Compute(devices=2, progress_bar=False)),
        env=environment(), check=True, capture_output=True,
    )  # fmt: skip
    a, b = load_file(whole), load_file(folder / "model.safetensors")
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, rtol=1e-3, atol=3e-5, msg=key)
    ours, theirs = curve(whole.parent), curve(folder)
    for key, row in ours.items():
        for name, value in row.items():
            assert float(theirs[key][name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), (key, name)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_told_to_end_says_how_to_go_on(data, tmp_path, sent, code):
    process = subprocess.Popen(
        command(tmp_path, data=data),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(read_log(tmp_path / "0")) >= 1, process)
    process.send_signal(sent)
    _, printed = process.communicate(timeout=100)
    assert process.returncode == code
    assert "the same command goes on from the last epoch" in printed.splitlines()[-1]
    assert "Traceback" not in printed
