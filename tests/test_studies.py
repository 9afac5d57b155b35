"""The scripts that make the data of the studies: parts by law, and each from start to end in tiny form."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import graphene, molecule
from ase.data import atomic_numbers
from scipy.spatial.transform import Rotation

from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.labels.formats import open_labels
from helm_ase.labels.splits import heavy_atoms, split_by_hash
from helm_ase.nn import BackboneSettings, HELMSettings
from helm_ase.qc.crystal import build_content, crystal_basis
from helm_ase.qc.crystal_baseline import crystal_hamiltonian
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.graph import AtomicGraph, batch_graphs
from helm_ase.representation.lattice import Lattice

FOLDER = Path(__file__).parents[1] / "examples" / "studies"
CHEAP = ["--grid", "0", "--workers", "1", "--quiet"]


def script(monkeypatch, folder, name):
    monkeypatch.syspath_prepend(str(FOLDER / folder))
    return importlib.import_module(name)


@pytest.fixture
def water(monkeypatch):
    return script(monkeypatch, "water", "make_water")


@pytest.fixture
def large(monkeypatch):
    return script(monkeypatch, "indirect", "make_large")


def start(path, *arguments, folder):
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(FOLDER / path), *map(str, arguments)], cwd=folder, capture_output=True,
        text=True, timeout=500, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# --- water --------------------------------------------------------------------------------------------


def harmonic(water):
    """About 300 K's widths of water, with a coupling and a cubic term of the angle."""
    powers = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 0, 1], [0, 1, 1], [0, 0, 3]])
    return water.Potential(powers, np.array([26.0, 26.0, 2.2, 0.5, 0.5, -0.3]))


def test_forces_are_minus_the_slope_of_the_potential(water, rng):
    potential = harmonic(water)
    positions = Rotation.random(random_state=3).apply(water.place(np.array([0.99, 0.94, 1.9]))) + 0.3

    def energy(points):
        x = water.internal(points) - water.CENTRE
        return water.monomials(x, potential.powers) @ potential.coefficients

    step = 1e-5 * np.eye(9).reshape(9, 3, 3)
    slopes = (energy(positions + step) - energy(positions - step)) / 2e-5
    np.testing.assert_allclose(potential.forces(positions[None])[0].ravel(), -slopes, atol=1e-8)


def test_placing_is_the_inverse_of_measuring(water):
    coordinates = np.array([0.99, 0.94, 1.9])
    np.testing.assert_allclose(water.internal(water.place(coordinates)), coordinates, rtol=1e-14)
    turned = water.orient(water.place(coordinates) + 1.0, "random", np.random.default_rng(0))
    np.testing.assert_allclose(water.internal(turned), coordinates, rtol=1e-13)
    assert (turned[0] == 0).all()


def test_dynamics_have_the_temperature_in_every_coordinate(water, rng):
    powers, k = 2 * np.eye(3, dtype=int), np.array([26.0, 26.0, 2.2])
    frames = water.run(water.Potential(powers, k), 40, 40, 100, rng)
    found = water.internal(np.array(list(frames))).reshape(-1, 3)
    wanted = np.sqrt(water.units.kB * water.TEMPERATURE / (2 * k))
    np.testing.assert_allclose(found.std(axis=0), wanted, rtol=0.07)  # 1600 frames: 2 %


def test_memory_of_a_known_process_is_measured(water, rng):
    kept, length = np.exp(-1 / 20), 4000
    series = np.zeros((length, 40, 3))
    for k in range(1, length):
        series[k] = kept * series[k - 1] + np.sqrt(1 - kept**2) * rng.standard_normal((40, 3))
    correlation = water.autocorrelation(series)
    np.testing.assert_allclose(correlation[:40], kept ** np.arange(40)[:, None] * np.ones(3), atol=0.05)
    assert 50 <= water.forgetting_time(correlation) <= 75  # e^(-60/20) = 0.05
    with pytest.raises(SystemExit, match="too short"):
        water.forgetting_time(correlation[:50])


@pytest.mark.slow
@pytest.mark.scf
def test_water_from_start_to_end(tmp_path):
    tiny = ["--frames", 2, 2, 2, "--frames-each", 2, "--energies", 20, "--pilot", 1000]
    start("water/make_water.py", "out", *tiny, *CHEAP, folder=tmp_path)
    with open_labels(tmp_path / "out" / "water.h5") as labels:
        assert [labels.split_of(k) for k in range(6)].count("test") == 2
        assert (labels.level.functional, labels.level.density_fitting) == ("pbe", False)
        trajectories = {(label.details["trajectory"], label.split) for label in labels}
    assert len(trajectories) == 3  # each in one part only
    printed = start("label_noise.py", "out/water.h5", "--molecules", 2, folder=tmp_path)
    mean = float(printed.split("mean")[1].split()[0])
    assert 0 < mean < 1000  # µEh: grid 0 is noisy, and a wrong rotation gives 100 times more
    again = start("water/make_water.py", "out", *tiny, *CHEAP, folder=tmp_path)
    assert "0 new labels, 6 were there already" in again


# --- data efficiency ----------------------------------------------------------------------------------


def test_a_power_law_is_found_and_ratios_are_those_of_means(tmp_path, monkeypatch):
    study = script(monkeypatch, "data_efficiency", "data_efficiency")
    for labels in (100, 400):
        for seed in (0, 1):
            for scheme, energy in (("direct", 0.04), ("long", 0.05), ("frozen", 0.03), ("finetune", 0.016)):
                metrics = {"energy": energy * (0.9 + 0.2 * seed)}
                write_result(tmp_path, scheme, labels, seed, metrics)
            metrics = {"hamiltonian": 300 * (labels / 100) ** -0.5, "homo": 0.1, "gap": 10 / labels}
            write_result(tmp_path, "hamiltonian", labels, seed, metrics)
    text = study.report(tmp_path)
    assert "| 400 | 40 ± 6 (2) | 50 ± 7 (2) | 30 ± 4 (2) | 16 ± 2 (2) | 2.50 |" in text
    assert "| 100 | 300 ± 0 (2) | 0.1 ± 0 (2) | 0.1 ± 0 (2) |" in text
    assert "| exponent | -0.50 | 0.00 | -1.00 |" in text or "| exponent | -0.50 | -0.00 | -1.00 |" in text
    assert (tmp_path / "data_efficiency.png").stat().st_size > 5000


def write_result(folder, scheme, labels, seed, metrics):
    result = {"scheme": scheme, "labels": labels, "seed": seed, "metrics": metrics}
    (folder / f"{scheme}-{labels}-{seed}.result.json").write_text(json.dumps(result))


# --- indirect -----------------------------------------------------------------------------------------


def molecules():
    lines = (FOLDER / "indirect" / "molecules.smi").read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def test_listed_molecules_follow_the_rule_and_are_small(large):
    smiles = [s for s, _ in molecules()]
    assert len(smiles) == len(set(smiles)) > 500
    assert max(map(heavy_atoms, smiles)) == 7
    assert not set("FSPlr") & set("".join(smiles))
    assert not set(smiles) & set(large.SMILES)
    parts = split_by_hash(smiles, spelling=True)
    wanted = {smiles[k]: part for part, indices in parts.items() for k in indices}
    assert dict(molecules()) == wanted


def test_large_molecules_are_what_their_smiles_say(large):
    from helm_ase.sampling.conformers import canonical_smiles
    from helm_ase.sampling.molecules import from_atoms

    found = large.molecules()
    assert [a.get_chemical_formula() for a in found] == [
        "C4H6", "C6H8", "C8H10", "C10H12", "C12H14", "C6H6", "C10H8", "C14H10", "C18H12",
    ]  # fmt: skip
    for atoms, smiles in zip(found, large.SMILES, strict=True):
        assert canonical_smiles(smiles) == smiles
        assert from_atoms(atoms).smiles == smiles
        assert not atoms.positions[:, 2].any()


@pytest.mark.slow
def test_the_list_is_what_the_script_prints():
    folder = FOLDER / "indirect"
    printed = start("indirect/make_list.py", folder=folder)
    assert printed == (folder / "molecules.smi").read_text()


@pytest.fixture
def surrogate(monkeypatch):
    return script(monkeypatch, "indirect", "surrogate")


def test_surrogate_turns_with_the_molecule(surrogate, rng):
    torch.manual_seed(0)
    settings = HELMSettings(BackboneSettings(16, 0, 4, 2, 2, 1, cutoff=5.0, pair_cutoff=6.0))
    network = surrogate.PropertySurrogate(settings, [1, 6, 8])
    network.model.cast(torch.float64)
    network.double().isotropic[6] = 3.0
    atoms = molecule("CH3CHO")
    mirror = -Rotation.random(random_state=1).as_matrix()
    graphs = []
    for positions in (atoms.positions, atoms.positions @ mirror.T + 5.0):
        graphs.append(AtomicGraph.from_arrays(atoms.numbers, positions, network.model.cutoff))
    dipole, alpha = (x.detach().numpy() for x in network(batch_graphs(graphs)))
    assert np.abs(dipole[0]).max() > 1e-2
    assert np.abs(alpha[0] - np.diag(np.diag(alpha[0]))).max() > 1e-2
    np.testing.assert_allclose(dipole[1], mirror @ dipole[0], atol=1e-9)
    np.testing.assert_allclose(alpha[1], mirror @ alpha[0] @ mirror.T, atol=1e-9)


@pytest.mark.slow
@pytest.mark.scf
def test_indirect_study_from_start_to_end(tmp_path):
    frames = []
    for name, split in (
        ("H2O", "train"),
        ("CH4", "train"),
        ("CO", "val"),
        ("HCN", "test"),
        ("C2H4", "large"),
    ):
        frames.append(molecule(name))
        frames[-1].info = {"smiles": name, "split": split, "temperature_K": 0.0}
    ase.io.write(tmp_path / "structures.xyz", frames)
    start("indirect/make_labels.py", ".", "sto-3g", *CHEAP, folder=tmp_path)
    small = ["natural_channels: 16", "unnatural_channels: 0", "lmax: 4", "node_layers: 1", "edge_layers: 1"]
    rows = ["H0", "H", "H → ε+α", "ε+μ+α", "surrogate on H0"]
    command = [".", "runs", "--minutes", 0.02, "--labels", "sto-3g", "--only", *rows]
    command += ["--set", f"model.backbone={{{', '.join(small)}}}"]
    printed = start("indirect/indirect.py", *command, folder=tmp_path)
    assert "sto-3g H0 0" in printed
    table = start("indirect/indirect.py", *command, "--report-only", folder=tmp_path)
    assert all(table.count(f"| {row} |") == 2 for row in rows)


@pytest.mark.slow
@pytest.mark.scf
def test_indirect_labels_from_start_to_end(tmp_path):
    few = ["--limit", 1, "--heavy", 4]
    start("indirect/make_labels.py", "out", "sto-3g", *few, *CHEAP, folder=tmp_path)
    start("indirect/make_labels.py", "out", "def2-tzvp", *few, *CHEAP, folder=tmp_path)
    structures = ase.io.read(tmp_path / "out" / "structures.xyz", index=":")
    assert {a.info["split"] for a in structures} == {"train", "large"}
    with (
        open_labels(tmp_path / "out" / "sto-3g.h5") as small,
        open_labels(tmp_path / "out" / "def2-tzvp.h5") as big,
    ):
        keys = {small.key_of(k) for k in range(len(small))}
        assert {big.key_of(k) for k in range(len(big))} < keys  # the same geometries
        assert sum(small.split_of(k) == "large" for k in range(len(small))) == 7
        assert sum(big.split_of(k) == "large" for k in range(len(big))) == 2


# --- selection ----------------------------------------------------------------------------------------


def test_the_table_of_choices_holds_means_over_seeds(tmp_path, monkeypatch):
    study = script(monkeypatch, "selection", "selection")
    for way, energy in (("random", 0.02), ("uncertain", 0.015), ("select", 0.01)):
        for seed in (0, 1):
            metrics = {"energy": energy * (0.9 + 0.2 * seed), "forces": 0.05}
            result = {"way": way, "labels": 25, "seed": seed, "metrics": metrics}
            (tmp_path / f"{way}-25-{seed}.result.json").write_text(json.dumps(result))
    text = study.report(tmp_path, 30.0)
    assert "30.0 meV/atom before any label" in text
    assert "| 25 | 20 ± 3 (2) | 15 ± 2 (2) | 10 ± 1 (2) | 50 ± 0 (2) |" in text


@pytest.mark.slow
@pytest.mark.scf
def test_selection_from_start_to_end(tmp_path):
    from ase.build import molecule as built

    from helm_ase.labels.writer import LabelWriter
    from helm_ase.qc.labelling import LabelSettings, label_structure
    from helm_ase.qc.level import pyscf_level
    from helm_ase.representation.structure import Structure

    level = pyscf_level(grid_level=0)
    with LabelWriter(tmp_path / "labels.h5", level) as writer:
        for k, name in enumerate(("H2O", "CH4", "NH3", "HCN", "H2CO", "HF")):
            atoms = built(name)
            split = "val" if k > 3 else "train"
            structure = Structure(name, atoms.numbers.astype(np.int64), atoms.positions, split=split)
            writer.add(label_structure(structure, LabelSettings(level)))
    options = ["--labels", 2, "--seeds", 0, "--epochs", 1]
    printed = start("selection/selection.py", "labels.h5", "runs", *options, folder=tmp_path)
    assert "4 structures in the pool, 2 to measure with" in printed
    assert len(list((tmp_path / "runs").glob("*.result.json"))) == 3


# --- graphene -----------------------------------------------------------------------------------------


def graphene_files(folder, study):
    """Two frames in the conventions of mlelec's set, of which an operator of our own makes H(T)."""
    carbon = AtomicOperator(
        6, (0.4, 1.5), (3.5, 2.5), (((-0.3, 0.05), (0.05, -0.2)), ((-0.1,),)), level_shift=-0.1,
        potential_moment=2.0,
    )  # fmt: skip
    basis, frames, operators = crystal_basis(study.LEVEL, [6]), [], []
    for seed in range(2):
        atoms = graphene(vacuum=10.0)
        atoms.pbc = [True, True, False]
        atoms.rattle(0.05, seed=seed)
        content = build_content(atoms.numbers, atoms.positions, study.LEVEL)
        operators.append(crystal_hamiltonian(content, Lattice.of_atoms(atoms), basis, [carbon]))
        frames.append(atoms)
    ase.io.write(folder / "C2.xyz", frames)
    reached = {tuple(t) for pair in operators for t in pair[1].translations.tolist()}
    places = np.array(sorted({tuple(np.add(t, m * study.OFFSET)) for t in reached for m in (-1, 0, 1)}))
    arrays = {"translations": places.astype(np.int32)}
    for name, which in (("hamiltonian", 0), ("overlap", 1)):
        blocks = np.zeros((2, len(places), 10, 10))
        for k, pair in enumerate(operators):
            for place, t in enumerate(places):
                for i in range(2):
                    for j in range(2):
                        source = t + study.OFFSET * (j - i)
                        if tuple(source) in reached:
                            rows, columns = slice(5 * i, 5 * i + 5), slice(5 * j, 5 * j + 5)
                            blocks[k, place, rows, columns] = pair[which].at(source)[rows, columns]
        arrays |= {name: blocks, f"{name}_present": np.ones((2, len(places)), dtype=bool)}
    np.savez(folder / "real_space.npz", **arrays)
    return operators


def test_graphene_in_the_conventions_of_mlelec_is_read_as_it_was_made(monkeypatch, tmp_path):
    study = script(monkeypatch, "graphene", "graphene")
    operators = graphene_files(tmp_path, study)
    for label, (h, _) in zip(study.read_frames(tmp_path), operators, strict=True):
        wanted = LatticeOperator.of(h.reorder("pyscf")).at(label.k_mesh.kpts).numpy()
        np.testing.assert_allclose(label.fock, wanted, rtol=0, atol=1e-7)
    data = dict(np.load(tmp_path / "real_space.npz"))
    data["overlap"] = np.roll(data["overlap"], 1, axis=2)
    np.savez(tmp_path / "real_space.npz", **data)
    with pytest.raises(SystemExit, match="other conventions"):
        study.read_frames(tmp_path)


# --- E2g ----------------------------------------------------------------------------------------------


def e2g_files(folder, study):
    """Two frames as mlelec's set has them: F(k) and S(k) of all points of the mesh, PySCF's order."""
    carbon = AtomicOperator(
        6, (0.4, 1.5), (3.5, 2.5), (((-0.3, 0.05), (0.05, -0.2)), ((-0.1,),)), level_shift=-0.1,
        potential_moment=2.0,
    )  # fmt: skip
    basis, frames, matrices = crystal_basis(study.LEVEL, [6]), [], {"fock": [], "overlap": []}
    points = torch.tensor([[i / 8, j / 8, 0.0] for i in range(8) for j in range(8)]).double()
    for seed in range(2):
        atoms = graphene(vacuum=7.1)
        atoms.pbc = [True, True, False]
        atoms.rattle(0.03, seed=seed)
        content = build_content(atoms.numbers, atoms.positions, study.LEVEL)
        pair = crystal_hamiltonian(content, Lattice.of_atoms(atoms), basis, [carbon])
        for values, matrix in zip(matrices.values(), pair, strict=True):
            values.append(LatticeOperator.of(matrix.reorder("pyscf")).at(points).numpy())
        frames.append(atoms)
    ase.io.write(folder / "E2g_graphene.xyz", frames)
    np.savez(folder / "E2g_kspace.npz", **{k: np.array(v) for k, v in matrices.items()})
    return np.array(matrices["fock"])


def test_frames_along_e2g_are_read_as_they_were_made(monkeypatch, tmp_path):
    study = script(monkeypatch, "graphene", "e2g")
    fock = e2g_files(tmp_path, study)
    labels = study.read_frames(tmp_path)
    for label, wanted in zip(labels, fock, strict=True):
        np.testing.assert_allclose(label.k_mesh.unfold(torch.from_numpy(label.fock)), wanted, atol=1e-10)
    data = dict(np.load(tmp_path / "E2g_kspace.npz"))
    np.savez(tmp_path / "E2g_kspace.npz", **(data | {"overlap": data["overlap"].conj()}))
    with pytest.raises(SystemExit, match="other conventions"):
        study.read_frames(tmp_path)


def test_the_displacement_of_a_frame_is_the_way_from_the_honeycomb(monkeypatch, tmp_path):
    study = script(monkeypatch, "graphene", "graphene")
    atoms = graphene()
    lattice = Lattice(atoms.cell.array, [True, True, False])
    for moved in ([0, 0, 0], [0.03, -0.04, 0], [2.46, 0, 0]):
        positions = atoms.positions + np.array([[0, 0, 0], moved])
        fock = np.zeros((1, 10, 10))
        label = study.LabelledCrystal("x", atoms.numbers, positions, lattice, (1, 1, 1), fock)
        expected = 0 if moved[0] > 2 else np.linalg.norm(moved)
        assert study.displacement(label) == pytest.approx(expected, abs=1e-9)


# --- elements ------------------------------------------------------------------------------------------


@pytest.fixture
def elements(monkeypatch):
    return script(monkeypatch, "elements", "molecules")


def test_the_molecules_cover_58_elements_and_each_is_judged_by_one_of_its_own(elements):
    listed = {}
    for element, number, text in elements.entries():
        listed.setdefault(element, []).append(number)
        atoms = elements.build(element, text)
        electrons = int(atoms.numbers.sum()) - atoms.info["charge"]
        assert electrons % 2 == 0, text
        if len(atoms) > 1:
            assert atoms.get_all_distances()[np.triu_indices(len(atoms), 1)].min() > 0.5, text
    numbers = {atomic_numbers[element] for element in listed}
    assert numbers == {*range(1, 21), *range(31, 57), *range(72, 84)}
    assert all(len(found) >= 3 for element, found in listed.items() if element != "H")


def test_molecules_are_built_as_they_are_written(elements):
    assert elements.parse("Clx2,amx2") == (["Cl", "Cl", "am", "am"], 0)
    assert elements.parse("Ox4-2") == (["O"] * 4, -2)
    assert elements.parse("COx4+1") == (["CO"] * 4, 1)
    assert elements.build("Pt", "Clx2,amx2").get_chemical_formula() == "H6Cl2N2Pt"
    assert 100 < elements.build("O", "Hx2").get_angle(1, 0, 2) < 140  # not at the saddle point
    tetrahedron = elements.directions(4)
    assert (tetrahedron @ tetrahedron.T)[np.triu_indices(4, 1)] == pytest.approx([-1 / 3] * 6, abs=1e-3)


def test_frames_get_splits_and_every_molecule_comes_before_any_comes_again(elements, tmp_path):
    listed = (("Li", "F"), ("Li", "Cl"), ("Hg", "Mex2"), ("F", "F"))
    made = [elements.build(*x) for x in listed for _ in range(3)]
    ase.io.write(tmp_path / "sampled.xyz", made, format="extxyz")
    frames = list(elements.with_splits(str(tmp_path / "sampled.xyz")))
    ase.io.write(tmp_path / "pool.xyz", frames, format="extxyz")
    frames = ase.io.read(tmp_path / "pool.xyz", ":")
    known = {"FLi": ("train", 3), "ClLi": ("val", 3), "C2H6Hg": ("val", 80), "F2": ("train", 9)}
    for start in (0, 4, 8):
        assert {a.get_chemical_formula() for a in frames[start : start + 4]} == set(known)
    for atoms in frames:
        assert (atoms.info["split"], atoms.info["element"]) == known[atoms.get_chemical_formula()]


def test_the_tables_of_elements_compare_forms_and_count_by_element(monkeypatch, tmp_path):
    study = script(monkeypatch, "elements", "elements")
    columns = ["formula", "charge", "ghost", "h0_ghost", *study.COLUMNS]
    numbers = [2000, 100, 0.5, 0.02, -0.4, 0.01]
    for name, ghost in (("no filter", 1), (study.SHOWN, 0)):
        folder = study.folder_of(tmp_path, name) / "errors"
        folder.mkdir(parents=True)
        rows = [["FLi", 0, ghost, 1, *numbers], ["C2H6Hg", 0, 0, 0, 1000, 300, 0.1, 0.04, "", ""]]
        lines = [columns, *rows, ["FLi", 0, 0, 0, 0, 50, 0.3, 0.03, 0, 0]]
        (folder / "molecules.csv").write_text("\n".join(",".join(map(str, x)) for x in lines))
    assert study.form_table(tmp_path)[2:] == [
        "| H0 alone | 3 | 1000, 1000 | 0.30, 0.30 | 0.20, 0.20 | 1 |",
        "| no filter | 3 | 150, 100 | 0.03, 0.03 | 0.01, 0.01 | 1 |",
        "| filter afterwards, δ = 0.03 | 3 | 150, 100 | 0.03, 0.03 | 0.01, 0.01 | 0 |",
    ]
    molecules = study.read_errors(study.folder_of(tmp_path, "no filter"))
    assert study.element_table(molecules)[2:] == [
        "| Li | 2 | 1000 | 75 | 0.40 | 0.03 | 0.20 | 0.01 | 1 |",
        "| Hg | 1 | 1000 | 300 | 0.10 | 0.04 | – | – | 0 |",
        "| all | 3 | 1000 | 150 | 0.30 | 0.03 | 0.20 | 0.01 | 1 |",
    ]
    (tmp_path / "frozen.result.json").write_text('{"energy": 0.25}')
    assert study.energy_table(tmp_path)[2:] == ["| frozen | 250.0 |"]
