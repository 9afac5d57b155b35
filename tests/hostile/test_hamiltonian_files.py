"""Hamiltonians of other programs that claim more than they hold, or reach outside: refused in words."""

import json

import h5py
import numpy as np
import pytest
from ase import Atoms

from helm_ase.labels.deeph import write_deeph
from helm_ase.labels.wannier90 import write_wannier90
from shared.bounded_process import refused_in_words
from shared.crystals import random_crystal


def crystal():
    atoms = Atoms("CH", [[0.1, 0.2, 0.3], [1.2, 0.1, 0]], cell=np.eye(3) * 3.0, pbc=True)
    return atoms, random_crystal(np.random.default_rng(4), reach=(1, 1, 0))


def deeph(folder):
    atoms, h = crystal()
    write_deeph(folder / "x", atoms, h, h)
    return folder / "x"


def wannier90(folder):
    atoms, h = crystal()
    write_wannier90(folder / "x", h, atoms)
    return folder / "x"


MAKE = {"deeph": deeph, "wannier90": wannier90}


@pytest.mark.parametrize("kind", MAKE)
def test_the_files_are_good_before_they_are_spoiled(kind, tmp_path, bounded):
    outcome = bounded.ask("read_hamiltonian", MAKE[kind](tmp_path), kind)
    assert outcome.kind == "answer", outcome
    assert outcome.value == (9, 5, 5)


def many_shells(folder):
    info = json.loads((folder / "info.json").read_text())
    info["elements_orbital_map"]["C"] = [0] * 200_000
    (folder / "info.json").write_text(json.dumps(info))


def many_atoms(folder):
    text = (folder / "POSCAR").read_text()
    assert " 1   1" in text
    (folder / "POSCAR").write_text(text.replace(" 1   1", " 999999999   1"))


def many_elements(folder):
    with h5py.File(folder / "hamiltonian.h5", "a") as file:
        del file["entries"]
        file.create_dataset("entries", (10**12,), "f8", chunks=(1000,))


def many_translations(folder):
    """A table of pairs that a few bytes hold, and blocks of which none is there."""
    with h5py.File(folder / "overlap.h5", "a") as file:
        entries = file["entries"][:]
        for name in list(file):
            del file[name]
        count = 40_000_000
        file.create_dataset("atom_pairs", (count, 5), "i8", chunks=(100_000, 5), compression="gzip")
        file.create_dataset("chunk_boundaries", (count + 1,), "i8", chunks=(100_000,), compression="gzip")
        file["entries"] = entries


def elsewhere(folder):
    (folder.parent / "secret.h5").write_bytes((folder / "overlap.h5").read_bytes())
    with h5py.File(folder / "overlap.h5", "a") as file:
        del file["entries"]
        file["entries"] = h5py.ExternalLink("../secret.h5", "entries")


SPOILT = (many_shells, many_atoms, many_elements, many_translations, elsewhere)
LINES = ((1, "999999999"), (2, "999999999"), (1, "-5"), (2, "1e9"), (3, "0 " * 9), (0, "\0"))
CASES = [*(f"deeph: {spoil.__name__}" for spoil in SPOILT), *(f"wannier90: {k}, {text}" for k, text in LINES)]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_folder_of_deeph_that_claims_too_much_is_refused(spoil, tmp_path, bounded):
    folder = deeph(tmp_path)
    spoil(folder)
    said = refused_in_words(bounded.ask("read_hamiltonian", folder, "deeph"))
    assert "no folder of DeepH" in said


@pytest.mark.parametrize(("line", "text"), LINES)
def test_a_table_of_wannier90_that_claims_too_much_is_refused(line, text, tmp_path, bounded):
    prefix = wannier90(tmp_path)
    path = tmp_path / "x_hr.dat"
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines))
    outcome = bounded.ask("read_hamiltonian", prefix, "wannier90")
    if line == 0:  # a comment
        assert outcome.kind == "answer"
    else:
        assert "no files of Wannier90" in refused_in_words(outcome)
