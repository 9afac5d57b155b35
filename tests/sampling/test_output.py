"""The file reads back as it was, appears whole or not at all, and the command makes it."""

import json

import numpy as np
import pytest
from ase.io import read

pytest.importorskip("rdkit")
pytest.importorskip("tblite")

from helm_ase.cli import main
from helm_ase.sampling import SamplingSettings, from_smiles, output, read_molecules, sample, summarise, write

TRICKY = ("F", "C/C=C\\F", "[NH4+]", "[H][H]", "N#N", "[OH]")
SETTINGS = SamplingSettings(temperatures=(0, 500), md_steps=10, dimers=2)


@pytest.fixture(scope="module")
def result():
    return sample([from_smiles(s) for s in TRICKY], SETTINGS)


def test_the_file_reads_back_as_it_was(result, tmp_path):
    write(result, tmp_path / "s.xyz")
    frames = read(tmp_path / "s.xyz", index=":")
    assert len(frames) == len(result.structures)
    assert {f.info["smiles"] for f in frames} >= set(TRICKY)
    for frame, atoms in zip(frames, result.structures, strict=True):
        assert np.array_equal(frame.numbers, atoms.numbers)
        assert np.allclose(frame.positions, atoms.positions, atol=1e-12)
        assert frame.info == pytest.approx(atoms.info) or all(
            frame.info[k] == v for k, v in atoms.info.items()
        )
        assert all(isinstance(frame.info[k], np.integer) for k in ("charge", "multiplicity", "seed"))


def test_the_file_can_be_sampled_again(result, tmp_path):
    write(result, tmp_path / "s.xyz")
    again = read_molecules([tmp_path / "s.xyz"])
    assert len(again) == len(result.structures)
    states = {a.info["smiles"]: (a.info["charge"], a.info["multiplicity"]) for a in result.structures}
    assert {m.smiles: (m.charge, m.multiplicity) for m in again} == states


def test_what_was_dropped_is_listed_beside_the_file(result, tmp_path):
    write(result, tmp_path / "s.xyz")
    lines = (tmp_path / "s.xyz.dropped.jsonl").read_text(encoding="utf8").splitlines()
    assert [json.loads(line)["reason"] for line in lines] == [drop.reason for drop in result.drops]


def test_an_interrupted_writer_leaves_the_old_file(result, tmp_path, monkeypatch):
    target = tmp_path / "s.xyz"
    target.write_text("old")
    calls = []

    def interrupt(atoms):
        calls.append(atoms)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return atoms

    monkeypatch.setattr(output, "_readable", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(result, target)
    assert target.read_text() == "old"
    assert not list(tmp_path.glob("*.partial"))


def test_the_summary_counts(result):
    text = summarise(result)
    assert f"{len(result.structures)} structures" in text
    assert "dimer: 2" in text or "dimer" in text
    assert f"{len(result.drops)} dropped" in text


def test_the_command(tmp_path, capsys):
    listed, target = tmp_path / "m.smi", tmp_path / "out.xyz"
    listed.write_text("O\nN  ammonia\n")
    arguments = ["sample", str(listed), "--smiles", "C=O", "-o", str(target), "--temperatures", "0", "300"]
    arguments += ["--md-steps", "10", "--dimers", "2", "--processes", "1", "--quiet"]
    assert main(arguments) == 0
    assert "monomer: 6" in capsys.readouterr().out
    first = target.read_bytes()
    assert main([*arguments, "--force"]) == 0
    assert target.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.smi", "-o", "a.xyz"], "absent.smi: no such file"),
        (["-o", "a.xyz"], "no molecules given"),
        (["--smiles", "C(", "-o", "a.xyz"], "'C(' is no SMILES"),
        (["--smiles", "C", "-o", "a.traj"], "end the name in .xyz"),
        (["--smiles", "C", "-o", "a.xyz", "--temperatures", "6000"], "0 to 5000 K"),
    ],
)
def test_mistakes_end_in_one_line_and_no_file(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("helm-ase: ")
    assert not list(tmp_path.iterdir())
