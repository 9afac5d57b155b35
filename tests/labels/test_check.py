"""Checking labels: good ones pass, and every mistake that people make is found by the check meant for it."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from ase.build import molecule

from helm_ase.errors import SettingError
from helm_ase.labels.check import check_labels, table
from helm_ase.labels.formats import open_labels
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.qc.rebuild import rebuild, rebuild_fock
from helm_ase.representation.structure import Structure
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV
from shared.sample_labels import TINY
from shared.stored_labels import write

pytestmark = pytest.mark.scf


def labelled(name, smiles, seed, charge=0, multiplicity=1, level=TINY):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    structure = Structure(
        name=f"{name}-{seed}", numbers=atoms.numbers.astype(np.int64), positions=atoms.positions,
        charge=charge, multiplicity=multiplicity, smiles=smiles,
    )  # fmt: skip
    return label_structure(structure, LabelSettings(level=level, density=True))


@pytest.fixture(scope="module")
def good():
    kinds = (("H2O", "O"), ("CH4", "C"), ("CH3OH", "CO"))
    labels = [labelled(name, smiles, seed) for name, smiles in kinds for seed in range(4)]
    return [*labels, labelled("CH3", "[CH3]", 0, multiplicity=2), labelled("OH", "[OH-]", 0, charge=-1)]


def report(tmp_path, labels, level=TINY, **settings):
    labels = [replace(x, name=f"{k:03d}") for k, x in enumerate(labels)]
    with open_labels(write_at(tmp_path / "labels.h5", labels, level)) as source:
        return check_labels(source, **settings)


def write_at(path, labels, level):
    from helm_ase.labels.writer import LabelWriter

    with LabelWriter(path, level) as writer:
        for label in labels:
            writer.add(label)
    return path


def failed(found):
    return {f.name for f in found.findings if not f.passed}


def spoiled(good, change, index=5, only=()):
    """The good labels, one of them changed; ``only`` these answers are kept of it."""
    labels = list(good)
    drop = dict.fromkeys(labels[index].available() - set(only)) if only else {}
    labels[index] = replace(change(labels[index]), **drop)
    return labels


def named(found, check):
    return next(f for f in found.findings if f.name == check).failed


def test_good_labels_pass_every_check(tmp_path, good):
    found = report(tmp_path, good, rebuild=len(good))
    assert found.passed, table(found)
    names = {f.name: f for f in found.findings}
    assert names["rebuilt Fock, mean"].checked == len(good)
    assert names["rebuilt Fock, mean"].worst < 2e-6
    assert names["frontier levels"].worst < 1e-9
    assert {"density trace", "occupations", "Mulliken charges", "dipole", "torque"} <= set(names)


def test_a_singlet_of_broken_symmetry_passes_and_is_named(tmp_path, good):
    far = Structure("far", np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 4]]))
    label = label_structure(far, LabelSettings(level=TINY))
    assert not label.determines_hamiltonian
    found = report(tmp_path, [*good, label], rebuild=len(good) + 1)
    assert found.passed, table(found)
    (remark,) = [f for f in found.findings if f.name == "broken symmetry"]
    assert remark.failures == 1
    assert "broken symmetry" not in {f.name for f in report(tmp_path, good).findings}


def test_single_precision_passes(tmp_path, good):
    write(tmp_path / "f32.h5", good, precision="float32")
    with open_labels(tmp_path / "f32.h5") as source:
        assert check_labels(source, rebuild=3).passed


def test_labels_with_nothing_but_a_hamiltonian_pass(tmp_path, good):
    bare = [replace(x, **dict.fromkeys(x.available())) for x in good]
    found = report(tmp_path, bare)
    assert found.passed, table(found)
    assert "spectrum" in {f.name for f in found.findings}


def permuted(label):
    """The p functions of the heavy atom in the order z, x, y."""
    order = np.arange(label.hamiltonian.shape[-1])
    order[2:5] = order[[4, 2, 3]]
    return replace(label, hamiltonian=label.hamiltonian[..., order, :][..., order])


@pytest.mark.parametrize(
    ("only", "check"),
    [(["orbital_energies"], "frontier levels"), (["dipole"], "dipole"), (["density"], "density of H")],
)
def test_another_ao_order_is_found_by_whatever_is_stored(tmp_path, good, only, check):
    found = report(tmp_path, spoiled(good, permuted, only=only))
    assert check in failed(found)
    assert len(named(found, check)) == 1
    assert named(found, check)[0].startswith("005")


def test_another_ao_order_is_found_by_rebuilding_even_in_a_bare_matrix(tmp_path, good):
    bare = [replace(permuted(x), **dict.fromkeys(x.available())) for x in good[:8]]
    assert "rebuilt Fock, mean" in failed(report(tmp_path, bare, rebuild=8))


@pytest.mark.parametrize("factor", [1.01, HARTREE_IN_EV, -1.0])
def test_a_scaled_matrix_is_found(tmp_path, good, factor):
    def scale(label):
        return replace(label, hamiltonian=factor * label.hamiltonian)

    assert {"frontier levels", "all levels"} <= failed(report(tmp_path, spoiled(good, scale)))


@pytest.mark.parametrize("factor", [HARTREE_IN_EV, -1.0])
def test_a_bare_matrix_in_another_unit_is_found_by_its_spectrum(tmp_path, good, factor):
    def scale(label):
        return replace(label, hamiltonian=factor * label.hamiltonian, **dict.fromkeys(label.available()))

    assert failed(report(tmp_path, spoiled(good, scale))) == {"spectrum"}


def test_energies_of_other_entries_are_found(tmp_path, good):
    labels = list(good)
    labels[0], labels[5] = (replace(labels[i], energy=labels[k].energy) for i, k in ((0, 5), (5, 0)))
    found = report(tmp_path, labels, rebuild=len(good))
    assert failed(found) == {"energy", "energy by composition", "rebuilt energy"}
    assert sorted(x[:3] for x in named(found, "rebuilt energy")) == ["000", "005"]
    assert {"000", "005"} <= {x[:3] for x in named(found, "energy by composition")}


def test_an_energy_in_another_unit_is_found(tmp_path, good):
    labels = spoiled(good, lambda x: replace(x, energy=x.energy * HARTREE_IN_EV))
    assert "energy" in failed(report(tmp_path, labels))


def test_levels_of_another_entry_are_found(tmp_path, good):
    labels = spoiled(good, lambda x: replace(x, orbital_energies=good[6].orbital_energies))
    assert failed(report(tmp_path, labels)) == {"frontier levels"} or "all levels" in failed(
        report(tmp_path, labels)
    )


def test_a_wrong_charge_is_found_by_electrons_dipole_and_charges(tmp_path, good):
    found = failed(report(tmp_path, spoiled(good, lambda x: replace(x, charge=2))))
    assert {"dipole", "density trace", "occupations", "Mulliken charges"} <= found


def test_a_charge_that_no_multiplicity_allows_is_found(tmp_path, good):
    found = report(tmp_path, spoiled(good, lambda x: replace(x, charge=1)))
    assert "basis size" in failed(found)
    assert "multiplicity 1" in named(found, "basis size")[0]


def test_positions_in_bohr_are_found(tmp_path, good):
    labels = spoiled(good, lambda x: replace(x, positions=x.positions / BOHR_IN_ANGSTROM))
    assert {"frontier levels", "dipole"} <= failed(report(tmp_path, labels))
    labels = spoiled(good, lambda x: replace(x, positions=x.positions * BOHR_IN_ANGSTROM**2))
    assert "closest atoms" in failed(report(tmp_path, labels))


def test_forces_in_another_unit_or_with_the_wrong_sign_are_found_by_rebuilding(tmp_path, good):
    for factor in (BOHR_IN_ANGSTROM, -1.0):
        labels = [replace(x, forces=factor * x.forces) for x in good[:4]]
        assert failed(report(tmp_path, labels, rebuild=2)) == {"rebuilt forces"}


def test_forces_that_push_the_molecule_are_found(tmp_path, good):
    labels = spoiled(good, lambda x: replace(x, forces=x.forces + 1.0))
    assert "net force" in failed(report(tmp_path, labels))
    labels = spoiled(good, lambda x: replace(x, forces=2 * x.forces[:, ::-1]))
    assert failed(report(tmp_path, labels)) == {"torque"}


@pytest.mark.parametrize("functional", ["blyp", "pbe0"])
def test_another_functional_is_found_by_rebuilding_alone(tmp_path, good, functional):
    level = replace(TINY, functional=functional)
    found = report(tmp_path, good[:4], level, rebuild=2)
    assert {"rebuilt Fock, mean", "rebuilt energy"} <= failed(found)
    assert all(name.startswith("rebuilt") for name in failed(found))
    assert report(tmp_path, good[:4], level).passed


def test_another_basis_is_found(tmp_path, good):
    path = write(tmp_path / "labels.h5", good[:2])
    with h5py.File(path, "a") as file:
        text = file.attrs["level"].decode().replace("sto-3g", "def2-svp")
        file.attrs["level"] = np.bytes_(text.encode())
    with open_labels(path) as source:
        assert failed(check_labels(source)) == {"basis size"}


def test_duplicates_and_copies_are_told_apart(tmp_path, good):
    from helm_ase.units import HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
    from shared.sample_labels import write_entry

    turned = replace(good[0], positions=good[0].positions[:, [1, 2, 0]] + 1.0)
    path = tmp_path / "groups.h5"
    with h5py.File(path, "w") as file:
        for k, x in enumerate([good[0], good[1], good[0], turned]):
            record = {f: getattr(x, f) for f in ("numbers", "positions", "hamiltonian", "dipole", "smiles")}
            record |= {"energy": x.energy / HARTREE_IN_EV, "split": "train"}
            write_entry(file, f"{k:03d}", record | {"forces": x.forces / HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM})
    with open_labels(path, level=TINY) as source:
        found = check_labels(source)
    assert named(found, "duplicates") == ["002 = 000"]
    assert named(found, "copies") == ["003 = 000"]
    assert next(f for f in found.findings if f.name == "copies").passed


def test_a_damaged_entry_is_one_failure_among_the_others(tmp_path, good):
    path = write(tmp_path / "labels.h5", good[:3])
    with h5py.File(path, "a") as file:
        file["hamiltonian"]["values"][3] = np.nan
    with open_labels(path) as source:
        found = check_labels(source)
    assert failed(found) == {"readable"}
    assert "not finite" in table(found)
    assert next(f for f in found.findings if f.name == "dipole").checked == 2


def test_samples_repeat_with_their_seed(tmp_path, good):
    path = write(tmp_path / "labels.h5", good)
    with open_labels(path) as source:
        first, second, other = (check_labels(source, sample=5, seed=s) for s in (1, 1, 2))
        assert first.sampled == 5
        assert first == second
        assert first != other
        with pytest.raises(SettingError, match="sample is 0"):
            check_labels(source, sample=0)


# --- rebuilding ---------------------------------------------------------------------------------------


def test_a_converged_matrix_reproduces_itself(good):
    for label in (good[0], good[-2], good[-1]):  # closed shell, open shell, anion
        again = rebuild(label, TINY, forces=True)
        assert again.fock.shape == label.hamiltonian.shape
        np.testing.assert_allclose(again.fock, label.hamiltonian, atol=2e-5)
        assert again.energy == pytest.approx(label.energy / HARTREE_IN_EV, abs=1e-8)


def test_two_equal_matrices_of_a_singlet_are_rebuilt_unrestricted(good):
    pair = replace(
        good[0], hamiltonian=np.stack([good[0].hamiltonian] * 2), **dict.fromkeys(good[0].available())
    )
    fock = rebuild_fock(pair, TINY)
    assert fock.shape == pair.hamiltonian.shape
    np.testing.assert_allclose(fock[0], fock[1], atol=1e-10)
    np.testing.assert_allclose(fock[0], good[0].hamiltonian, atol=2e-5)
