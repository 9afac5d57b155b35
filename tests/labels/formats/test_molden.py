"""Molden files written as PySCF, ORCA and Psi4 write them give back PySCF's Kohn–Sham matrix."""

import re

import numpy as np
import pytest
from ase.units import Bohr
from pyscf import dft, gto
from pyscf.tools import molden
from scipy.spatial.transform import Rotation

from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels

pytestmark = pytest.mark.scf

COLUMNS = {0: [0], 1: [0, 1, 2], 2: [2, 3, 1, 4, 0], 3: [3, 4, 2, 5, 1, 6, 0]}
"""Functions of PySCF's shell in the sequence of a Molden file."""
ORCA_SIGNS = {0: [1], 1: [1] * 3, 2: [1] * 5, 3: [1, 1, 1, 1, 1, -1, -1]}
PSI4_SCALES = {0: 1.0, 1: 1.0, 2: 3**-0.5, 3: 15**-0.5}


def molecule(symbols, positions, basis, charge=0, multiplicity=1):
    """A rotated, shifted molecule, one Kohn–Sham matrix with its orbitals, from one SCF step."""
    turned = Rotation.random(random_state=11).apply(positions) + np.array([0.3, -0.2, 0.5])
    mole = gto.M(
        atom=list(zip(symbols, turned, strict=True)), basis=basis, charge=charge, spin=multiplicity - 1,
        verbose=0, ecp={"I": basis} if "I" in symbols else {},
    )  # fmt: skip
    mf = (dft.RKS if multiplicity == 1 else dft.UKS)(mole, xc="pbe")
    mf.grids.level = 0
    fock = np.asarray(mf.get_fock(dm=mf.get_init_guess()))
    energies, coefficients = mf.eig(fock, mf.get_ovlp())
    occupations = mf.get_occ(energies, coefficients)
    spins = [
        np.asarray(x).reshape(-1, *np.shape(x)[-n:])
        for x, n in ((coefficients, 2), (energies, 1), (occupations, 1))
    ]
    return mole, fock, *spins


WATER = (("O", "H", "H"), np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))


@pytest.fixture(scope="module")
def water():
    return molecule(*WATER, "def2-tzvp")


@pytest.fixture(scope="module")
def radical():
    return molecule(("O", "H"), np.array([[0.0, 0, 0], [0.98, 0, 0]]), "6-31g*", multiplicity=2)


def shells(mole, atom):
    """(l, exponents, contraction over normalised primitives, AOs) of every shell of an atom."""
    for b in mole.atom_shell_ids(atom):
        l, start = mole.bas_angular(b), mole.ao_loc_nr()[b]
        for c in range(mole.bas_nctr(b)):
            first = start + c * (2 * l + 1)
            yield l, mole.bas_exp(b), mole.bas_ctr_coeff(b)[:, c], range(first, first + 2 * l + 1)


def write(path, state, program="ORCA", reverse=False):
    """Write as ORCA or Psi4 do, with norms in the contraction coefficients; ``reverse``: shells reversed."""
    mole, _, coefficients, energies, occupations = state
    lines = ["[Molden Format]", "[Title]", f" written by {program}", "", "[Atoms] AU"]
    for a in range(mole.natm):
        xyz = " ".join(f"{x:.17g}" for x in mole.atom_coord(a, unit="ANG") / Bohr)
        lines.append(f"{mole.atom_pure_symbol(a)} {a + 1} {gto.charge(mole.atom_symbol(a))} {xyz}")
    lines.append("[GTO]")
    rows, signs = [], []
    for a in range(mole.natm):
        lines.append(f" {a + 1} 0")
        listed = list(shells(mole, a))
        for l, exponents, contraction, functions in reversed(listed) if reverse else listed:
            lines.append(f" {'spdf'[l]} {len(exponents)} 1.00")
            scale = PSI4_SCALES[l] if program == "Psi4" else 1.0
            for e, c in zip(exponents, contraction, strict=True):
                lines.append(f"   {e:.17g} {c * gto.gto_norm(l, e) * scale:.17g}")
            rows += [functions[k] for k in COLUMNS[l]]
            signs += ORCA_SIGNS[l] if program == "ORCA" else [1] * (2 * l + 1)
        lines.append("")
    lines += ["[5D]", "[7F]", "[MO]"]
    for spin, (c, e, o) in enumerate(zip(coefficients, energies, occupations, strict=True)):
        for k in range(len(e)):
            lines += [" Sym= 1a", f" Ene= {e[k]:.17g}", f" Spin= {('Alpha', 'Beta')[spin]}"]
            lines += [f" Occup= {o[k]:.6f}"]
            lines += [f"{i + 1} {x:.17g}" for i, x in enumerate(c[rows, k] * signs)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("program", ["ORCA", "Psi4"])
def test_the_kohn_sham_matrix_comes_back(tmp_path, water, program, reverse):
    with open_labels(write(tmp_path / "w.molden", water, program, reverse)) as labels:
        label = labels[0]
    assert (labels.level.basis, labels.level.code) == ("def2-tzvp", program)
    assert np.abs(label.hamiltonian - water[1]).max() < 1e-10
    assert np.abs(label.positions - water[0].atom_coords(unit="ANG")).max() < 1e-12
    assert np.abs(label.orbital_energies - water[3][0]).max() < 1e-12
    assert (label.charge, label.multiplicity, label.occupations.sum()) == (0, 1, 10)


def test_pyscf_files_come_back(tmp_path, water):
    mole, fock, coefficients, energies, occupations = water
    molden.from_mo(mole, str(tmp_path / "w.molden"), coefficients[0], ene=energies[0], occ=occupations[0])
    label = open_labels(tmp_path / "w.molden")[0]
    assert np.abs(label.hamiltonian - fock).max() < 1e-6  # PySCF prints few digits


def test_an_open_shell_has_two_matrices(tmp_path, radical):
    label = open_labels(write(tmp_path / "oh.molden", radical, "ORCA"), basis="6-31g*")[0]
    assert label.hamiltonian.shape == radical[1].shape
    assert np.abs(label.hamiltonian - radical[1]).max() < 1e-10
    assert (label.charge, label.multiplicity) == (0, 2)


def test_an_ion_with_an_effective_core(tmp_path):
    state = molecule(("I", "H"), np.array([[0.0, 0, 0], [1.61, 0, 0]]), "def2-svp", charge=-2)
    label = open_labels(write(tmp_path / "hi.molden", state), functional="pbe")[0]
    assert label.charge == -2
    assert np.abs(label.hamiltonian - state[1]).max() < 1e-10


def test_a_folder_is_many_molecules(tmp_path, water):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.molden", water)
    labels = open_labels(tmp_path)
    assert [label.name for label in labels] == ["a.molden", "b.molden"]


def edited(tmp_path, water, pattern, replacement, count=1):
    path = write(tmp_path / "w.molden", water)
    text, changes = re.subn(pattern, replacement, path.read_text(), count=count, flags=re.DOTALL)
    assert changes
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("pattern", "replacement", "match"),
    [
        (r"\[5D\]\n\[7F\]", "", "Cartesian"),
        (r"\[MO\].*", "", "no .MO. section"),
        (r"\n[^\n]*Sym= 1a\n Ene= [^\n]*\n Spin= Alpha\n Occup= 0\.0.*", "\n", "needs all of them"),
        (r"Ene= [^\n]*", "Ene= nan", "not finite"),
        (r"\n1 [^\n]*", "\n1 nan", "not finite"),
        (r"\n1 [^\n]*", "\n99 0.1", "damaged"),
        (r"O 1 8 \S+", "O 1 8 0.1", "reaches|orthonorm"),
        (r"O 1 8", "Xx 1 8", "unknown elements"),
        (r"Occup= 2\.0", "Occup= 1.4", "fractional"),
        (r"Occup= 2\.0", "Occup= 1.0", "restricted open shell"),
        (r"\[GTO\].*?s 6", "[GTO]\n 1 0\n s 7", "damaged"),
        (r"\[GTO\].*?\[5D\]", "[GTO]\n 1 0\n s 2 1.0\n 1.0 1.0\n[5D]", "ends early"),
    ],
)
def test_damaged_files_are_named(tmp_path, water, pattern, replacement, match):
    path = edited(tmp_path, water, pattern, replacement)
    with pytest.raises(DatasetError, match=match) as error:
        list(open_labels(path, format="molden"))
    assert str(path) in str(error.value)


def test_a_wrong_basis_is_refused(tmp_path, water):
    path = write(tmp_path / "w.molden", water)
    with pytest.raises(DatasetError, match=r"not those of basis 'def2-svp'"):
        open_labels(path, basis="def2-svp")[0]
    with pytest.raises(DatasetError, match="no-such-basis"):
        open_labels(path, basis="no-such-basis")[0]


def test_exchanged_functions_are_refused(tmp_path, water):
    mole, fock, coefficients, energies, occupations = water
    wrong = coefficients.copy()
    wrong[:, [6, 7]] = wrong[:, [7, 6]]  # two p functions on oxygen
    path = write(tmp_path / "w.molden", (mole, fock, wrong, energies, occupations))
    with pytest.raises(DatasetError, match=r"w\.molden.*reaches.*order"):
        open_labels(path)[0]
