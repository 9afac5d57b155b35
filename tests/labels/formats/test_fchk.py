"""Gaussian formatted checkpoints, in Gaussian's order of shells and functions, give back PySCF's matrices."""

import re

import numpy as np
import pytest
from ase.units import Bohr, Hartree
from pyscf import dft, gto
from scipy.spatial.transform import Rotation

from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels

pytestmark = pytest.mark.scf

COLUMNS = {0: [0], 1: [0, 1, 2], 2: [2, 3, 1, 4, 0], 3: [3, 4, 2, 5, 1, 6, 0]}
"""Functions of PySCF's shell in Gaussian's sequence."""


def molecule(symbols, positions, basis, charge=0, multiplicity=1):
    """A rotated, shifted molecule, one Kohn–Sham matrix with its orbitals, from one SCF step."""
    turned = Rotation.random(random_state=5).apply(positions) + np.array([0.3, -0.2, 0.5])
    mole = gto.M(
        atom=list(zip(symbols, turned, strict=True)),
        basis=basis,
        charge=charge,
        spin=multiplicity - 1,
        verbose=0,
    )
    mf = (dft.RKS if multiplicity == 1 else dft.UKS)(mole, xc="b3lyp")
    mf.grids.level = 0
    fock = np.asarray(mf.get_fock(dm=mf.get_init_guess()))
    energies, coefficients = mf.eig(fock, mf.get_ovlp())
    shape = (-1, mole.nao)
    return mole, fock, np.reshape(coefficients, (*shape, mole.nao)), np.reshape(energies, shape)


METHANOL = (
    ("C", "O", "H", "H"),
    np.array([[0.0, 0.05, 0], [1.22, 0, 0], [-0.58, 0.94, 0.1], [-0.6, -0.93, 0.2]]),
)


@pytest.fixture(scope="module")
def formaldehyde():
    return molecule(*METHANOL, "6-31+g*")


@pytest.fixture(scope="module")
def cation():
    return molecule(("O", "H"), np.array([[0.0, 0, 0], [1.03, 0, 0]]), "def2-tzvp", 1, 3)


def shells(mole, atom):
    """[l, exponents, contraction, AOs] as Gaussian lists them: S and P with the same exponents together."""
    found = []
    for b in mole.atom_shell_ids(atom):
        l, start = mole.bas_angular(b), mole.ao_loc_nr()[b]
        for c in range(mole.bas_nctr(b)):
            first = start + c * (2 * l + 1)
            found.append(
                [l, mole.bas_exp(b), mole.bas_ctr_coeff(b)[:, c], list(range(first, first + 2 * l + 1))]
            )
    listed = []
    while found:
        l, exponents, contraction, functions = found.pop(0)
        twin = next((f for f in found if l == 0 and f[0] == 1 and np.array_equal(f[1], exponents)), None)
        if twin is None:
            listed.append([-l if l > 1 else l, exponents, contraction, None, functions])
        else:
            found = [f for f in found if f is not twin]
            listed.append([-1, exponents, contraction, twin[2], functions + twin[3]])
    return listed


def field(name, values, kind):
    if np.ndim(values) == 0:
        return [f"{name:<40}   {kind}     " + (f"{values:12d}" if kind == "I" else f"{values:22.15E}")]
    values = np.ravel(values)
    per_line, form = (6, "{:12d}") if kind == "I" else (5, "{:25.17E}")
    words = [form.format(v.item()) for v in values]
    lines = ["".join(words[k : k + per_line]) for k in range(0, len(words), per_line)]
    return [f"{name:<40}   {kind}   N={len(values):12d}", *lines]


def write(path, state, basis_name, method="RB3LYP"):
    mole, _, coefficients, energies = state
    listed = [(a, *shell) for a in range(mole.natm) for shell in shells(mole, a)]
    rows = []
    for _, kind, _, _, _, functions in listed:
        parts = [(0, functions[:1]), (1, functions[1:])] if kind == -1 else [(abs(kind), functions)]
        rows += [f[k] for l, f in parts for k in COLUMNS[l]]
    electrons = mole.nelec
    lines = ["a test", f"SP        {method:<30}{basis_name:>30}"]
    lines += field("Number of atoms", mole.natm, "I") + field("Charge", mole.charge, "I")
    lines += field("Multiplicity", mole.spin + 1, "I") + field("Number of electrons", sum(electrons), "I")
    lines += field("Number of alpha electrons", electrons[0], "I") + field(
        "Number of beta electrons", electrons[1], "I"
    )
    lines += field("Number of basis functions", mole.nao, "I")
    lines += field("SCF Energy", -113.25, "R") + field("Total Energy", -113.25, "R")
    lines += ["Route                                      C   N=           2", "#p b3lyp/6-31+g* 5d"]
    lines += field("Atomic numbers", np.array([gto.charge(s) for s in mole.elements]), "I")
    lines += field("Current cartesian coordinates", mole.atom_coords(unit="ANG") / Bohr, "R")
    lines += field("Shell types", np.array([s[1] for s in listed]), "I")
    lines += field("Number of primitives per shell", np.array([len(s[2]) for s in listed]), "I")
    lines += field("Shell to atom map", np.array([s[0] + 1 for s in listed]), "I")
    lines += field("Primitive exponents", np.concatenate([s[2] for s in listed]), "R")
    lines += field("Contraction coefficients", np.concatenate([s[3] for s in listed]), "R")
    if any(s[1] == -1 for s in listed):
        p_part = [np.zeros_like(s[2]) if s[4] is None else s[4] for s in listed]
        lines += field("P(S=P) Contraction coefficients", np.concatenate(p_part), "R")
    for spin, c, e in zip(("Alpha", "Beta"), coefficients, energies, strict=False):
        lines += field(f"{spin} Orbital Energies", e, "R") + field(f"{spin} MO coefficients", c[rows].T, "R")
    lines += field("Dipole Moment", np.array([0.1, 0.2, 0.3]), "R")
    lines += field("Cartesian Gradient", np.arange(3.0 * mole.natm) / 100, "R")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("basis", [None, "6-31+g*"])
def test_everything_comes_back_from_combined_shells(tmp_path, formaldehyde, basis):
    mole, fock, _, energies = formaldehyde
    labels = open_labels(write(tmp_path / "f.fchk", formaldehyde, "6-31+G(d)"), basis=basis)
    label = labels[0]
    assert "-1" in (tmp_path / "f.fchk").read_text()
    assert labels.level.functional == "b3lyp"
    assert np.abs(label.hamiltonian - fock).max() < 1e-10
    assert np.abs(label.positions - mole.atom_coords(unit="ANG")).max() < 1e-12
    assert np.abs(label.orbital_energies - energies[0]).max() < 1e-12
    assert label.energy == pytest.approx(-113.25 * Hartree, rel=1e-14)
    assert np.allclose(label.forces.ravel(), -np.arange(12.0) / 100 * Hartree / Bohr, rtol=1e-13)
    assert np.allclose(label.dipole, [0.1, 0.2, 0.3])
    assert (label.charge, label.multiplicity) == (0, 1)


def test_an_open_shell_with_f_functions(tmp_path, cation):
    label = open_labels(write(tmp_path / "oh.fchk", cation, "def2TZVP", "UB3LYP"))[0]
    assert np.abs(label.hamiltonian - cation[1]).max() < 1e-10
    assert (label.charge, label.multiplicity) == (1, 3)
    assert label.occupations.sum(axis=1).tolist() == [5, 3]


def test_a_recontracted_basis_spans_the_same_space(tmp_path):
    """Gaussian takes primitives out of contractions of cc-pVDZ that occur elsewhere; H must not change."""
    state = molecule(("O", "H"), np.array([[0.0, 0, 0], [0.97, 0, 0]]), "cc-pvdz", -1)
    mole, fock, _, _ = state
    overlap = mole.intor("int1e_ovlp")
    path = write(tmp_path / "oh.fchk", state, "CC-pVDZ", "RB3LYP")
    # first two s functions of oxygen mixed, in the list of shells and in the orbitals
    mix = np.eye(mole.nao)
    mix[2, 0] = -0.3  # φ0' = φ0 − 0.3 φ2
    norm = np.sqrt((mix.T @ overlap @ mix)[0, 0])
    mix[:, 0] /= norm
    orbitals = np.linalg.solve(mix, state[2][0])
    write(path, (mole, fock, orbitals[None], state[3]), "CC-pVDZ")
    text = path.read_text()
    contraction = np.concatenate([s[2] for a in range(mole.natm) for s in shells(mole, a)])
    exponents = np.concatenate([s[1] for a in range(mole.natm) for s in shells(mole, a)])
    first, third = shells(mole, 0)[0], shells(mole, 0)[2]
    assert third[0] == 0
    extra = np.concatenate([first[2], -0.3 * third[2]])
    block = np.concatenate([first[1], third[1]])
    counts = [len(s[1]) for a in range(mole.natm) for s in shells(mole, a)]
    counts[0] = len(block)
    n = len(first[1])
    for name, values, kind in (
        ("Number of primitives per shell", np.array(counts), "I"),
        ("Primitive exponents", np.concatenate([block, exponents[n:]]), "R"),
        ("Contraction coefficients", np.concatenate([extra, contraction[n:]]), "R"),
    ):
        new = "\n".join(field(name, values, kind))
        text = re.sub(rf"^{re.escape(name)} [^\n]*\n(?:[ \-][^\n]*\n)+", new + "\n", text, flags=re.MULTILINE)
    path.write_text(text)
    label = open_labels(path)[0]
    assert np.abs(label.hamiltonian - fock).max() < 1e-9


def test_a_correlated_calculation_lends_neither_forces_nor_dipole(tmp_path, formaldehyde):
    path = write(tmp_path / "f.fchk", formaldehyde, "6-31+G(d)", "RMP2-FC")
    path.write_text(re.sub(r"(Total Energy.*?)-1\.1", r"\1-1.2", path.read_text(), count=1))
    label = open_labels(path)[0]
    assert label.energy is not None
    assert (label.forces, label.dipole) == (None, None)


@pytest.mark.parametrize(
    ("pattern", "replacement", "match"),
    [
        (r"Alpha MO coefficients.*", "", "'Alpha MO coefficients' is missing"),
        (r"Charge   [^\n]*\n", "", "'Charge' is missing"),
        (r"(Charge  .*?)0\n", r"\g<1>2\n", "the orbitals hold 16 electrons"),
        (r"(Multiplicity  .*?)1\n", r"\g<1>3\n", "multiplicity 3 contradicts"),
        (r"(Alpha Orbital Energies[^\n]*\n\s*)\S+", r"\1 NaN", "not finite"),
        (r"(Shell types[^\n]*\n.*?)-2", r"\1 2", "Cartesian"),
        (r"(Current cartesian coordinates[^\n]*\n\s*)\S+", r"\1 0.5", "reaches"),
        (r"(beta electrons.*?)\d\n", r"\g<1>7\n", "restricted open shell"),
    ],
)
def test_damaged_files_are_named(tmp_path, formaldehyde, pattern, replacement, match):
    path = write(tmp_path / "f.fchk", formaldehyde, "6-31+G(d)")
    text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.DOTALL)
    assert count
    path.write_text(text)
    with pytest.raises(DatasetError, match=match) as error:
        list(open_labels(path))
    assert str(path) in str(error.value)


def test_a_truncated_file_is_refused(tmp_path, formaldehyde):
    path = write(tmp_path / "f.fchk", formaldehyde, "6-31+G(d)")
    text = path.read_text()
    path.write_text(text[: text.index("Dipole") - 500])
    with pytest.raises(DatasetError, match=r"f\.fchk.*cut short"):
        open_labels(path)


def test_a_basis_name_is_never_taken_for_a_file(tmp_path, formaldehyde, monkeypatch):
    """PySCF opens a file of the name of a basis and evaluates what stands in it."""
    monkeypatch.chdir(tmp_path)
    payload = "[__import__('pathlib').Path('ran').touch(),1][1] 1.0"
    (tmp_path / "mybasis").write_text("".join(f"{e} S\n {payload}\n" for e in "HCO") + "END\n")
    path = write(tmp_path / "f.fchk", formaldehyde, "mybasis")
    assert open_labels(path).level.basis == "6-31+g*"
    assert not (tmp_path / "ran").exists()


def test_a_wrong_or_unknown_basis_is_refused(tmp_path, formaldehyde):
    path = write(tmp_path / "f.fchk", formaldehyde, "Gen")
    assert open_labels(path).level.basis == "6-31+g*"
    with pytest.raises(DatasetError, match=r"not those of basis|outside"):
        open_labels(path, basis="def2-svp")[0]
