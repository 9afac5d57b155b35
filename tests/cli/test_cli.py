"""``helm-ase`` at the command line."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write

from helm_ase import HELMCalculator, load_model
from helm_ase.checkpoint import save_checkpoint
from helm_ase.cli import main
from helm_ase.representation.charge_state import charge_state


@pytest.fixture
def water(tmp_path):
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=2)
    path = tmp_path / "water.xyz"
    write(path, atoms)
    return path


def run(*arguments):
    return main([str(a) for a in arguments])


def number_after(text, label):
    return float(text.split(label, 1)[1].split()[0])


def test_run_prints_energy_forces_orbitals_gap_and_dipole(water, capsys):
    assert run("run", water) == 0
    printed = capsys.readouterr().out
    atoms = read(water)
    atoms.calc = HELMCalculator()
    homo, lumo = atoms.calc.get_homo_lumo()
    assert "H2O" in printed
    assert "B3LYP/def2-svp" in printed
    assert number_after(printed, "energy ") == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    assert number_after(printed, "HOMO-LUMO gap") == pytest.approx(lumo - homo, abs=2e-3)
    assert number_after(printed, " HOMO ") == pytest.approx(homo, abs=2e-3)
    table = [line.split() for line in printed.split("forces / eV/Å\n")[1].splitlines()[:3]]
    assert [row[0] for row in table] == ["O", "H", "H"]
    np.testing.assert_allclose(np.array([row[1:] for row in table], float), atoms.get_forces(), atol=1e-4)
    assert "dipole" in printed


def test_run_without_orbitals_does_not_print_them(water, capsys):
    assert run("run", water, "--no-orbitals") == 0
    assert "HOMO" not in capsys.readouterr().out


def test_run_writes_a_file_that_ase_reads_with_the_same_energy(water, tmp_path, capsys):
    target = tmp_path / "out.extxyz"
    assert run("run", water, "-o", target, "--no-orbitals") == 0
    back, atoms = read(target), read(water)
    atoms.calc = HELMCalculator()
    assert back.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(back.get_forces(), atoms.get_forces(), atol=1e-5)
    assert str(target) in capsys.readouterr().out


def test_an_optimisation_ends_below_the_wanted_force(water, tmp_path, capsys):
    target = tmp_path / "relaxed.traj"
    assert run("run", water, "--opt", "--fmax", "0.03", "-o", target, "--no-orbitals") == 0
    assert "optimisation converged" in capsys.readouterr().out
    assert np.linalg.norm(read(target).get_forces(), axis=1).max() < 0.03


@pytest.mark.parametrize("ensemble", [[], ["--nve"]])
def test_dynamics_runs_and_writes_a_trajectory(water, tmp_path, capsys, ensemble):
    frames = tmp_path / "md.traj"
    arguments = ["--md", 20, "--trajectory", frames, "--no-orbitals", "--seed", 3, *ensemble]
    assert run("run", water, *arguments) == 0
    assert "20 steps of 0.5 fs" in capsys.readouterr().out
    assert len(read(frames, ":")) == 3
    assert np.isfinite(read(frames).get_positions()).all()


def test_dynamics_with_the_same_seed_repeats_itself(water, tmp_path, capsys):
    energies = []
    for _ in range(2):
        target = tmp_path / "end.traj"
        assert run("run", water, "--md", 5, "--no-orbitals", "--seed", 7, "-o", target) == 0
        energies.append(read(target).get_potential_energy())
    assert energies[0] == energies[1]


def test_levels_are_drawn_as_a_png(water, tmp_path, capsys):
    picture = tmp_path / "levels.png"
    assert run("run", water, "--levels", picture) == 0
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) > 5000
    assert str(picture) in capsys.readouterr().out


def test_models_lists_the_default_with_a_mark(capsys):
    assert run("models") == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if "helm-organic-1" in x)
    assert line.startswith("*")
    assert "embedded" in line


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["organic-1"]),
        (["helm-hcnof-2"], ["hcnof-2"]),
        (["helm-organic-1", "helm-hcnof-2"], ["organic-1", "hcnof-2"]),
    ],
)
def test_download_prints_where_each_model_lies(arguments, names, capsys):
    assert run("download", *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"helm-{k}" for k in names]
    assert all(line.endswith(f"helm-{k}.safetensors") for line, k in zip(lines, names, strict=True))


def test_info_names_level_basis_and_elements(capsys):
    assert run("info") == 0
    printed = capsys.readouterr().out
    for word in ("helm-organic-1", "b3lyp", "VWN", "def2-svp", "gfn2-xtb", "H, B, C, N, O, F", "hamiltonian"):
        assert word in printed


def test_info_as_json_can_be_parsed(capsys):
    assert run("info", "helm-hcnof-2", "--json") == 0
    header = json.loads(capsys.readouterr().out)
    assert header["elements"] == [1, 6, 7, 8, 9]
    assert header["level"]["functional"] == "b3lyp"


def refused(capsys, *arguments):
    assert run(*arguments) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("helm-ase: ")
    assert "Traceback" not in printed.err
    return printed.err


def test_a_periodic_structure_is_refused(tmp_path, capsys):
    path = tmp_path / "box.extxyz"
    write(path, molecule("H2O", cell=[9, 9, 9], pbc=True))
    assert "pbc" in refused(capsys, "run", path)


def test_an_unknown_element_is_refused(tmp_path, capsys):
    path = tmp_path / "lithium_hydride.xyz"
    write(path, molecule("LiH"))
    assert "Li" in refused(capsys, "run", path)


def test_a_missing_file_is_named(tmp_path, capsys):
    assert "absent.xyz" in refused(capsys, "run", tmp_path / "absent.xyz")


@pytest.mark.parametrize("content", [b"", b"hello\nworld\n", b"\xff\xfe\x00\x01", b"3\n\nH 0 0 0\n"])
@pytest.mark.parametrize("suffix", ["xyz", "cif", "unheard-of"])
def test_an_unreadable_file_is_named(tmp_path, capsys, content, suffix):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content)
    assert path.name in refused(capsys, "run", path)


def test_an_impossible_charge_is_refused(water, capsys):
    assert "electrons" in refused(capsys, "run", water, "--charge", 1)


def test_an_unknown_model_is_refused_everywhere(water, capsys):
    for command in (["run", water, "--model"], ["info"], ["download"]):
        assert "did you mean" in refused(capsys, *command, "helm-hcnof-3")


def test_an_output_format_that_does_not_exist_is_refused_in_words(water, tmp_path, capsys):
    for option in ("-o", "--levels"):
        assert "unheard-of" in refused(capsys, "run", water, option, tmp_path / "result.unheard-of")


def test_without_a_command_one_line_names_the_help(capsys):
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 2
    assert "see helm-ase --help" in capsys.readouterr().err


def test_version_is_printed_without_importing_torch():
    code = (
        "import sys; from helm_ase.cli import main\n"
        "try: main(['--version'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("helm-ase ")


@pytest.fixture
def one_sided(tmp_path):
    """Copy of the default model that says it has learnt only so much."""

    def make(*predicts):
        model = load_model()
        path = tmp_path / f"{'-'.join(predicts)}.safetensors"
        save_checkpoint(replace(model, training=model.training | {"predicts": list(predicts)}), path)
        return path

    return make


def test_run_shows_what_a_model_has_learnt(water, one_sided, tmp_path, capsys):
    out = tmp_path / "out.xyz"
    assert run("run", water, "--model", one_sided("hamiltonian"), "-o", out) == 0
    printed = capsys.readouterr().out
    assert "HOMO-LUMO gap" in printed
    assert "forces" not in printed
    assert len(read(out)) == 3
    assert run("run", water, "--model", one_sided("energy", "forces"), "--md", "2", "-o", out) == 0
    printed = capsys.readouterr().out
    assert "HOMO" not in printed
    assert number_after(printed, "\nenergy ") == pytest.approx(read(out).get_potential_energy(), abs=1e-4)


def test_charge_and_multiplicity_of_the_command_line_win_over_those_of_the_file(water, tmp_path, capsys):
    atoms = read(water)
    atoms.info |= {"charge": 3, "spin": 2}
    path, out = tmp_path / "ion.xyz", tmp_path / "out.xyz"
    write(path, atoms)
    assert "charge" in refused(capsys, "run", path)
    assert run("run", path, "--charge", "0", "--multiplicity", "1", "--no-orbitals", "-o", out) == 0
    assert charge_state(read(out)) == (0, 1)
    assert "charge" in refused(capsys, "report", path, "-o", tmp_path / "page.html")


def test_frames_that_will_not_be_leave_an_older_trajectory_alone(water, one_sided, tmp_path, capsys):
    old = tmp_path / "old.traj"
    write(old, molecule("CH4"))
    before = old.read_bytes()
    assert "--opt or --md" in refused(capsys, "run", water, "--trajectory", old)
    model = one_sided("hamiltonian")
    assert "not trained" in refused(capsys, "run", water, "--model", model, "--opt", "--trajectory", old)
    assert old.read_bytes() == before


@pytest.mark.parametrize("option", ["-o", "--levels"])
def test_outputs_that_cannot_be_are_refused_before_the_dynamics(water, option, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "helm_ase.cli.structure_commands.move", lambda *_: pytest.fail("something was computed")
    )
    assert "no folder" in refused(capsys, "run", water, "--md", "9", option, tmp_path / "none" / "x.png")
    assert "format" in refused(capsys, "run", water, "--md", "9", option, tmp_path / "x.foo")


def test_several_frames_are_not_one_structure(water, capsys):
    assert "names 1 frames" in refused(capsys, "run", f"{water}@:")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kpts", "2", "2", "2"], "--kpts and --smearing are for crystals"),
        (["--smearing", "0"], "--kpts and --smearing are for crystals"),
        (["--pbc", "a"], "the cell has no vector a"),
        (["--pbc", "ad"], "names no cell vectors"),
        (["--pbc", "aa"], "names no cell vectors"),
        (["--pbc", ""], "names no cell vectors"),
        (["--pbc", "a", "--no-pbc"], "not allowed with argument"),
    ],
)
def test_options_of_crystals_do_not_fit_a_molecule(water, capsys, options, message):
    for command in ("run", "report"):
        try:
            code = run(command, water, *options)
        except SystemExit as end:  # as argparse ends what it cannot parse
            code = end.code
        assert code
        assert message in capsys.readouterr().err
