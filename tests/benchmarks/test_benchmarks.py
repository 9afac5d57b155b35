"""The benchmark scripts still run, at their smallest setting."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
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


def test_sizes_of_crystals_are_measured(tmp_path):
    found = run("crystal_sizes.py", "helm-carbon-pbe", "--cells", 1, 2, tmp_path / "out.json")
    assert [x["atoms"] for x in found] == [2, 8]
    assert found[0]["kept"] == pytest.approx(found[1]["kept"], rel=0.05)


def test_sizes_are_measured(tmp_path):
    found = run("sizes.py", "--molecules", "C2", "W2", "--repeats", 1, tmp_path / "out.json")
    assert set(found["W2"]) == {"E+F", "E+F again", "H", "levels", "all levels", "H0", "E0"}
    assert found["C2"]["H"]["peak"] > found["C2"]["H"]["loaded"]
    assert len(found["C2"]["levels"]["answer"]) == 2  # what they are: tests/electronic/test_frontier.py


def test_frequencies_are_compared(tmp_path):
    found = run("frequencies.py", "--molecules", "H2O", tmp_path / "out.json")["molecules"][0]
    assert len(found["PySCF"]) == 3
    np.testing.assert_allclose(found["model"], found["PySCF"], rtol=0.05)
    np.testing.assert_allclose(found["GFN2-xTB"], found["PySCF"], rtol=0.2)


def test_our_side_of_the_comparison_with_mace_runs(tmp_path):
    found = run("beside_mace.py", "--molecules", "ethanol", "--rounds", 1, tmp_path / "out.json")
    assert found["ours"]["ethanol network"][0] > 0


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


def test_the_baseline_of_a_model_is_judged_by_charge_and_spin(tmp_path):
    from dataclasses import replace

    from ase.build import molecule

    from helm_ase.checkpoint import load_model
    from helm_ase.checkpoint.format import save_checkpoint
    from helm_ase.labels.writer import LabelWriter
    from helm_ase.qc.labelling import LabelSettings, label_structure
    from helm_ase.representation.structure import Structure

    model = Path(__file__).parents[2] / "checkpoints" / "helm-organic-1.safetensors"
    checkpoint = load_model(str(model))
    known = tuple(replace(o, exchange=-0.08) for o in checkpoint.baseline.operators)
    with_spins = replace(checkpoint.baseline, operators=known, spins=True)
    save_checkpoint(replace(checkpoint, baseline=with_spins), tmp_path / "spins.safetensors")
    path = tmp_path / "labels.h5"
    with LabelWriter(path, checkpoint.level) as writer:
        for name, multiplicity in (("CH3", 2), ("NH3", 1)):
            atoms = molecule(name)
            structure = Structure(name, atoms.numbers, atoms.positions, 0, multiplicity, split="val")
            writer.add(label_structure(structure, LabelSettings(checkpoint.level, forces=False)))
    found = run("baselines.py", path, "--model", tmp_path / "spins.safetensors", tmp_path / "out.json")
    assert list(found) == ["neutral (1)", "neutral, open shell (1)", "neutral, open shell, spins alike"]
    assert np.isfinite(list(found.values())).all()
    assert found["neutral, open shell (1)"][3] < 0.5 * found["neutral, open shell, spins alike"][3]


@pytest.fixture(scope="module")
def own_labels(tmp_path_factory):
    """Labels that are the former default's own answers: of two isomers, and of a dimer and its parts."""
    from helm_ase import HELMCalculator
    from helm_ase.labels.writer import LabelWriter
    from helm_ase.representation import LabelledMolecule

    path, calc = tmp_path_factory.mktemp("own") / "labels.h5", HELMCalculator("helm-hcnof-2")
    water, isomers = molecule("H2O"), (molecule("HCN"), Atoms("NCH", ISOMER))
    parts = {"dimer": water + molecule("CH4", positions=METHANE), "a": water}
    parts["b"] = parts["dimer"][3:]
    entries = [(f"t/{k}", atoms, {}) for k, atoms in enumerate(isomers)]
    entries += [(part, atoms, {"pair": 0, "part": part}) for part, atoms in parts.items()]
    with LabelWriter(path, calc.checkpoint.level) as writer:
        for name, atoms, details in entries:
            answers = {k: calc.get_property(k, atoms) for k in ("energy", "forces", "hamiltonian")}
            writer.add(
                LabelledMolecule(
                    name, atoms.numbers, atoms.positions, details=details, split="test", **answers
                )
            )
    return path


METHANE = molecule("CH4").positions + np.array([3.6, 0, 0])
ISOMER = [[0, 0, 0], [0, 0, 1.17], [0, 0, -1.0]]  # HNC


def test_board_compares_with_labels_references_and_xtb(own_labels, tmp_path):
    species = [
        {"name": str(k), "count": 2 * k - 1, "charge": 0, "unpaired": 0,
         "elements": atoms.get_chemical_symbols(), "positions_angstrom": atoms.positions.tolist()}
        for k, atoms in enumerate((molecule("HCN"), Atoms("NCH", ISOMER)))
    ]  # fmt: skip
    path = tmp_path / "set.json.gz"
    subset = {"weight": 1, "reactions": {"1": {"reference_kcal_mol": 14.0, "species": species}}}
    with gzip.open(path, "wt") as file:
        json.dump({"ISO": subset}, file)
    options = ("--model", "helm-hcnof-2", "--density", "--refine", 1, "--cache", tmp_path / "energies")
    trained = ("--trained", own_labels)
    found = run("board.py", path, own_labels, *options, *trained, tmp_path / "out.json")["totals"]
    total = found["all, labelled"]["total"]
    assert total["n"] == 1
    assert total["head − level"] == pytest.approx(0, abs=1e-3)
    assert total["head − ref."] == pytest.approx(total["level − ref."], abs=1e-3)
    assert total["head − ref."] / 56.84 * 14 < 10  # kcal/mol
    assert {"E[D(H)] − level", "refine(1) − level", "GFN2-xTB − ref."} <= set(total)
    again = run("board.py", path, own_labels, *options, *trained, tmp_path / "out.json")["totals"]
    assert again == found  # from the cache
    more = run(
        "board.py", path, own_labels, *options, "--dispersion", "--counterpoise", tmp_path / "out.json"
    )
    row = more["reactions"][0]
    for method in ("head", "level"):
        assert row[f"{method} + D3"] != row[method]
        assert row[f"{method} + D3 + gCP"] != row[f"{method} + D3"]
    assert {"head + D3 − ref.", "level + D3 + gCP − ref."} <= set(more["totals"]["all, labelled"]["total"])


def test_interactions_of_the_labelling_model_are_its_own(own_labels, tmp_path):
    (row,) = run("interactions.py", own_labels, "--models", "helm-hcnof-2", tmp_path / "out.json")
    assert abs(row["helm-hcnof-2"]) < 0.1  # meV
    assert abs(row["GFN2-xTB"]) > 1


def test_well_known_errors_of_the_labelling_model_vanish(own_labels, tmp_path):
    found = run("well_known.py", own_labels, "--models", "helm-hcnof-2", tmp_path / "out.json")["means"]
    ours = found["helm-hcnof-2"]
    assert ours.pop("answered") == 5
    assert max(ours.values()) < 0.05
    assert found["GFN2-xTB"]["force_length"] > found["GFN2-xTB"]["force"] > 10


def test_training_steps_run(tmp_path):
    found = run("training.py", "--steps", 1, tmp_path / "out.json")
    assert {r["case"] for r in found["ethanol"]} >= {"shipped:H", "paper:H", "muon:H + E + F"}


def test_batches_run_and_agree_with_one_at_a_time(tmp_path):
    found = run("batches.py", "--molecules", "H2O", "CH4", "--copies", 2, tmp_path / "out.json")
    assert found["batches"][0]["energy"] < 1e-5


def test_hessians_run_and_agree_with_finite_differences(tmp_path):
    found = run("hessians.py", "--molecules", "H2O", tmp_path / "out.json")
    assert found["molecules"][0]["from fine differences"] < 1e-4


def test_dynamics_runs_and_says_what_it_saw(tmp_path):
    pytest.importorskip("rdkit")
    (found,) = run(
        "dynamics.py", "-o", tmp_path / "runs", "--steps", 40, "--only", "alanine", tmp_path / "out.json"
    )
    assert found["exit_code"] == 0
    assert found["same_bonds"]
    assert found["picoseconds"] == pytest.approx(0.02)
    assert abs(found["scatter"]) < 1
