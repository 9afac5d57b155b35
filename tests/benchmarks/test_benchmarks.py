"""The benchmark scripts still run, at their smallest setting."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

FOLDER = Path(__file__).parent
pytestmark = pytest.mark.slow


def run(script: str, *arguments: object) -> dict:
    """Run a script with ``--json`` and return what it wrote (last argument: the file)."""
    command = [sys.executable, str(FOLDER / script), *map(str, arguments[:-1]), "--json", str(arguments[-1])]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(Path(arguments[-1]).read_text())


@pytest.fixture
def labels(tmp_path):
    """Write four molecules with made-up energies and forces; kinetic-energy matrices stand in for H."""
    from helm_ase.qc.level import LevelOfTheory
    from helm_ase.qc.molecule import build_mole

    path = tmp_path / "labels.h5"
    with h5py.File(path, "w") as file:
        for k, (name, split) in enumerate(
            [("H2O", "train"), ("CH4", "train"), ("NH3", "train"), ("HCN", "val")]
        ):
            atoms, group = molecule(name), file.create_group(f"{k:06d}")
            hamiltonian = build_mole(atoms.numbers, atoms.positions, LevelOfTheory().basis).intor("int1e_kin")
            group["numbers"], group["positions"] = atoms.numbers, atoms.positions
            group["forces"], group["dipole"] = np.ones((len(atoms), 3)), np.zeros(3)
            group["hamiltonian_tril"] = hamiltonian[np.tril_indices(len(hamiltonian))]
            group.attrs.update({"energy": -1.0 * len(atoms), "smiles": name, "split": split})
    return path


def test_validation_runs(labels, tmp_path):
    found = run("validation.py", labels, tmp_path / "out.json")
    assert {"mean", "median", "p95", "max"} <= set(found["results"][0])


def test_speed_runs(tmp_path):
    found = run("speed.py", "--molecules", "ethanol", "--scf-up-to", 0, "--repeats", 1, tmp_path / "out.json")
    assert found["molecules"][0]["H without H0"] > 0


def test_startup_runs_and_import_leaves_torch_out(tmp_path):
    found = run("startup.py", "--repeats", 1, tmp_path / "out.json")
    assert not found["import helm_ase"][0][2]


def test_labelling_runs(tmp_path):
    found = run("labelling.py", "--count", 2, "--rounds", 1, tmp_path / "out.json")
    assert found["labelling"]["bare labels/hour/core"] > 0
    assert found["reading"]["molecules/s/core"] > 0


def test_label_speed_is_measured(tmp_path):
    write(tmp_path / "one.xyz", molecule("CH3OH"))
    found = run("label_speed.py", tmp_path / "one.xyz", "--count", 1, tmp_path / "out.json")["results"]
    assert found[0]["route"] == "two grids"
    assert found[0]["ratio"] > 2
    assert found[0]["dH µEh"] < 5


def test_baselines_are_compared(labels, tmp_path):
    found = run("baselines.py", labels, "--sizes", 2, tmp_path / "out.json")
    assert set(found) == {"sap", "minao", "fitted to 2"}
    assert np.isfinite(list(found.values())).all()


def test_training_steps_run(tmp_path):
    found = run("training.py", "--steps", 1, tmp_path / "out.json")
    assert {r["case"] for r in found["ethanol"]} >= {"shipped:H", "paper:H", "muon:H + E + F"}
