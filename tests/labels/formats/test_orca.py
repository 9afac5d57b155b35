"""orca_2json exports, with ORCA's shells, orders and signs, give back PySCF's Kohn–Sham matrix."""

import json
import pickle

import numpy as np
import pytest
from ase.units import Bohr
from pyscf import dft, gto
from scipy.spatial.transform import Rotation

from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels

pytestmark = pytest.mark.scf

COLUMNS = {0: [0], 1: [2, 0, 1], 2: [2, 3, 1, 4, 0], 3: [3, 4, 2, 5, 1, 6, 0]}
"""Functions of PySCF's shell in ORCA's sequence."""
SIGNS = {0: [1], 1: [1] * 3, 2: [1] * 5, 3: [1, 1, 1, 1, 1, -1, -1]}


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
    mf = (dft.RKS if multiplicity == 1 else dft.UKS)(mole, xc="pbe")
    mf.grids.level = 0
    fock = np.asarray(mf.get_fock(dm=mf.get_init_guess()))
    energies, coefficients = mf.eig(fock, mf.get_ovlp())
    occupations = mf.get_occ(energies, coefficients)
    shape = (-1, mole.nao)
    orbitals = np.reshape(coefficients, (*shape, mole.nao))
    return mole, fock, orbitals, np.reshape(energies, shape), np.reshape(occupations, shape)


@pytest.fixture(scope="module")
def water():
    return molecule(("O", "H", "H"), np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), "def2-tzvpd")


@pytest.fixture(scope="module")
def radical():
    return molecule(("N", "H"), np.array([[0.0, 0, 0], [1.04, 0, 0]]), "def2-svp", multiplicity=3)


def shells(mole, atom):
    """Shells in ORCA's sequence: in def2-TZVPD the diffuse s, p and d of oxygen come at the end."""
    listed = []
    for b in mole.atom_shell_ids(atom):
        l, first = mole.bas_angular(b), mole.ao_loc_nr()[b]
        listed.append((l, mole.bas_exp(b), mole.bas_ctr_coeff(b)[:, 0], range(first, first + 2 * l + 1)))
    if mole.basis == "def2-tzvpd" and mole.atom_pure_symbol(atom) == "O":
        tail = [max(k for k, s in enumerate(listed) if s[0] == l) for l in (0, 1, 2)]
        listed = [s for k, s in enumerate(listed) if k not in tail] + [listed[k] for k in tail]
    return listed


def export(state, version=6, bare=True):
    """The document that orca_2json writes, matrices that mislead included."""
    mole, fock, coefficients, energies, occupations = state
    atoms, rows, signs = [], [], []
    for a in range(mole.natm):
        basis = []
        for l, exponents, contraction, functions in shells(mole, a):
            norms = gto.gto_norm(l, exponents) if bare else 1.0
            entry = {"Coefficients": list(contraction * norms), "Exponents": list(exponents)}
            basis.append(entry | {"Shell": "spdf"[l]})
            rows += [functions[k] for k in COLUMNS[l]]
            signs += SIGNS[l]
        symbol, z = mole.atom_pure_symbol(a), gto.charge(mole.atom_symbol(a))
        atoms.append(
            {
                "Basis" if version == 6 else "BasisFunctions": basis,
                "Coords": list(mole.atom_coord(a, unit="ANG") / (1 if version == 6 else Bohr)),
                "ElementLabel": symbol,
                "ElementNumber": z, "Idx": a, "LoewdinCharge": 0.0, "MullikenCharge": 0.0,
                "NuclearCharge": float(z),
            }
        )  # fmt: skip
    signs = np.array(signs)

    def matrix(m):
        return (m[np.ix_(rows, rows)] * np.outer(signs, signs)).tolist()

    orbitals = [
        {
            "MOCoefficients": list(c[rows, k] * signs), "Occupancy": float(o[k]), "OrbitalSymmetry": 0,
            "OrbitalEnergy": float(e[k]), "OrbitalSymLabel": "A",
        }
        for c, e, o in zip(coefficients, energies, occupations, strict=True)
        for k in range(len(e))
    ]  # fmt: skip
    core = dft.RKS(mole).get_hcore() if mole.spin == 0 else dft.UKS(mole).get_hcore()
    two_electron = (np.reshape(fock, (-1, mole.nao, mole.nao)) - core)[0]
    molecule = {
        "Atoms": atoms, "BaseName": "job", "Charge": mole.charge,
        "CoordinateUnits": "Angs" if version == 6 else "Bohrs", "F-Matrix": [matrix(two_electron)],
        "H-Matrix": matrix(core), "HFTyp": "RHF" if mole.spin == 0 else "UHF",
        "MolecularOrbitals": {"EnergyUnit": "Eh", "MOs": orbitals, "OrbitalLabels": ["0O   1s"] * mole.nao},
        "Multiplicity": mole.spin + 1, "PointGroup": "C1", "S-Matrix": matrix(mole.intor("int1e_ovlp")),
    }  # fmt: skip
    return {"Molecule": molecule, "ORCA Header": {"Version": f"{version}.0.0"}}


def write(path, document):
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("version", [5, 6])
@pytest.mark.parametrize("bare", [False, True])
def test_the_kohn_sham_matrix_comes_back_and_not_the_one_of_the_file(tmp_path, water, version, bare):
    labels = open_labels(write(tmp_path / "job.json", export(water, version, bare)), functional="pbe")
    label = labels[0]
    assert (labels.level.basis, labels.level.functional, labels.level.code) == ("def2-tzvpd", "pbe", "ORCA")
    assert np.abs(label.hamiltonian - water[1]).max() < 1e-10
    assert np.abs(label.positions - water[0].atom_coords(unit="ANG")).max() < 1e-12
    assert (label.charge, label.multiplicity) == (0, 1)
    assert np.array_equal(pickle.loads(pickle.dumps(labels))[0].hamiltonian, label.hamiltonian)


def test_an_open_shell_has_two_matrices(tmp_path, radical):
    label = open_labels(write(tmp_path / "job.json", export(radical)))[0]
    assert np.abs(label.hamiltonian - radical[1]).max() < 1e-10
    assert label.multiplicity == 3


def test_the_overlap_is_not_needed(tmp_path, water):
    document = export(water)
    del document["Molecule"]["S-Matrix"]
    assert np.abs(open_labels(write(tmp_path / "job.json", document))[0].hamiltonian - water[1]).max() < 1e-10


def change(key, value):
    def apply(molecule):
        molecule[key] = value

    return apply


def drop(key):
    return lambda molecule: molecule.pop(key)


def orbital(k, key, value):
    def apply(molecule):
        molecule["MolecularOrbitals"]["MOs"][k][key] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (drop("Charge"), "'Charge' is missing"),
        (drop("MolecularOrbitals"), "'MolecularOrbitals' is missing"),
        (change("Charge", 2), "electrons"),
        (change("Multiplicity", 3), "multiplicity 3 contradicts"),
        (change("CoordinateUnits", "furlongs"), "furlongs"),
        (change("CoordinateUnits", "Bohrs"), "reaches"),
        (change("HFTyp", "ROHF"), "ROHF"),
        (change("S-Matrix", [[1.0]]), "overlap"),
        (lambda m: m["MolecularOrbitals"]["MOs"].pop(), "needs all of them"),
        (lambda m: m["Atoms"][0]["Basis"].pop(), "none of|functions"),
        (orbital(0, "OrbitalEnergy", float("nan")), "not finite"),
        (orbital(3, "MOCoefficients", [0.0] * 7), "needs all of them"),
        (lambda m: m["MolecularOrbitals"].update(EnergyUnit="eV"), "eV"),
        (lambda m: [o.update(OrbitalEnergy=0.0) for o in m["MolecularOrbitals"]["MOs"]], "canonical"),
    ],
)
def test_damaged_files_are_named(tmp_path, water, damage, match):
    document = export(water)
    damage(document["Molecule"])
    path = write(tmp_path / "job.json", document)
    with pytest.raises(DatasetError, match=match) as error:
        list(open_labels(path))
    assert str(path) in str(error.value)


def test_a_truncated_file_is_refused(tmp_path, water):
    path = write(tmp_path / "job.json", export(water))
    path.write_text(path.read_text()[:-3000])
    with pytest.raises(DatasetError, match=r"job\.json.*cut short"):
        open_labels(path)


def test_a_wrong_basis_is_refused(tmp_path, water):
    path = write(tmp_path / "job.json", export(water))
    with pytest.raises(DatasetError, match="def2-tzvp"):
        open_labels(path, basis="def2-tzvp")[0]
