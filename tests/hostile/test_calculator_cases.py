"""Hostile questions to the calculator end in our own error or a verdict, never in a silent number."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from helm_ase import HELMCalculator
from helm_ase.errors import (
    ChargeError,
    CheckpointError,
    ElementError,
    HelmError,
    SettingError,
    StructureError,
)
from shared.attached import PURE


@pytest.fixture(scope="module")
def calc():
    return HELMCalculator(PURE)


# --- structures, charges and spins ------------------------------------------------------------------------


def water(**arrays: Any) -> Atoms:
    """Water with some arrays, information or attributes replaced."""
    atoms = molecule("H2O")
    for key, value in arrays.items():
        if key in ("info", "arrays"):
            getattr(atoms, key).update(value)
        elif key == "pbc":
            atoms.pbc = value
        else:
            atoms.positions[value[0]] = value[1]
    return atoms


def named(symbol_numbers):
    return Atoms(numbers=symbol_numbers, positions=3.0 * np.arange(3 * len(symbol_numbers)).reshape(-1, 3))


STRUCTURES = {
    "no atoms": (Atoms(), StructureError),
    "a position that is not a number": (water(at=(1, np.nan)), StructureError),
    "a position at infinity": (water(at=(1, np.inf)), StructureError),
    "two atoms in one place": (water(at=(2, molecule("H2O").positions[1])), StructureError),
    "two atoms nearly in one place": (water(at=(2, molecule("H2O").positions[1] + 0.02)), StructureError),
    "a crystal": (Atoms("HF", [[0, 0, 0], [0, 0, 0.9]], cell=[3, 3, 3], pbc=True), StructureError),
    "a slab": (water(pbc=[True, True, False]), StructureError),
    "a ghost atom": (named([0, 1, 1]), ElementError),
    "an element the model has not seen": (molecule("SiH4"), ElementError),
    "a heavy element": (named([92]), ElementError),
    "element 119": (named([119]), ElementError),
    "element 200": (named([200, 8]), ElementError),
    "a negative atomic number": (named([-1, 8]), ElementError),
    "complex positions": (water(arrays={"positions": molecule("H2O").positions + 0.1j}), StructureError),
    "positions as text": (water(arrays={"positions": np.full((3, 3), "1.0")}), StructureError),
    "positions as objects": (water(arrays={"positions": np.full((3, 3), None)}), StructureError),
    "positions in a plane": (water(arrays={"positions": np.eye(3)[:, :2]}), StructureError),
    "one position too few": (water(arrays={"positions": np.eye(3)[:2]}), StructureError),
    "half an atomic number": (water(arrays={"numbers": np.array([8.5, 1, 1])}), StructureError),
    "an odd number of electrons": (Atoms("OH", [[0, 0, 0], [0, 0, 1]]), ChargeError),
    "a triplet of a closed-shell model": (water(info={"multiplicity": 3}), ChargeError),
    "a cation of a neutral model": (water(info={"charge": 1, "multiplicity": 2}), ChargeError),
    "a dication": (water(info={"charge": 2}), ChargeError),
    "multiplicity zero": (water(info={"multiplicity": 0}), ChargeError),
    "a negative multiplicity": (water(info={"spin": -1}), ChargeError),
    "half a charge": (water(info={"charge": 0.5}), ChargeError),
    "a charge that is not a number": (water(info={"charge": float("nan")}), ChargeError),
    "an infinite charge": (water(info={"charge": float("inf")}), ChargeError),
    "a charge as text": (water(info={"charge": "0"}), ChargeError),
    "a charge as truth value": (water(info={"charge": True}), ChargeError),
    "a complex multiplicity": (water(info={"multiplicity": 1 + 0j}), ChargeError),
    "two names of one charge that differ": (water(info={"charge": 0, "total_charge": 1}), ChargeError),
    "two names of one spin that differ": (water(info={"spin": 1, "multiplicity": 3}), ChargeError),
    "initial charges of NaN": (water(arrays={"initial_charges": np.full(3, np.nan)}), ChargeError),
    "initial charges with a broken sum": (water(arrays={"initial_charges": np.full(3, 0.2)}), ChargeError),
    "infinite initial charges": (water(arrays={"initial_charges": np.full(3, np.inf)}), ChargeError),
    "moments that are not numbers": (water(arrays={"initial_magmoms": np.full(3, np.nan)}), ChargeError),
    "moments of two directions": (water(arrays={"initial_magmoms": np.ones((3, 3))}), ChargeError),
    "more unpaired spins than electrons": (water(info={"multiplicity": 99}), ChargeError),
}  # fmt: skip


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_that_no_model_can_take_is_refused(name, calc):
    atoms, error = STRUCTURES[name]
    with pytest.raises(error) as caught:
        calc.get_potential_energy(atoms)
    assert 10 < len(str(caught.value)) < 2000
    assert calc.get_potential_energy(molecule("CH4")) < 0  # and nothing is spoilt


# --- settings and questions -------------------------------------------------------------------------------

SETTINGS = {
    "half precision": {"dtype": "float16"},
    "precision as number": {"dtype": 32},
    "a device that is none": {"device": "abacus"},
    "a device that is not there": {"device": "cuda:77"},
    "an unknown keyword": {"modle": "helm-hcnof-2"},
    "charge as text": {"charge": "one"},
    "charge and a half": {"charge": 1.5},
    "charge not a number": {"charge": float("nan")},
    "multiplicity as truth value": {"multiplicity": True},
    "half a multiplicity": {"multiplicity": 1.5},
    "negative steps": {"refine": -1},
    "a step and a half": {"refine": 1.5},
    "steps as text": {"refine": "two"},
    "steps not a number": {"refine": float("nan")},
    "a model of no name": {"model": "helm-of-nowhere"},
    "a model with a NUL": {"model": "a\0b"},
    "a folder as model": {"model": "/"},
    "no file as model": {"model": "/nowhere/model.safetensors"},
    "this file as model": {"model": __file__},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_makes_no_sense_is_refused(name):
    with pytest.raises((SettingError, CheckpointError)) as caught:
        HELMCalculator(**SETTINGS[name])
    assert 10 < len(str(caught.value)) < 2000


QUESTIONS = {
    "a spin that is not there": lambda c, _: c.get_homo_lumo_by_spin(2),
    "a negative spin": lambda c, _: c.get_homo_lumo_by_spin(-1),
    "no step": lambda c, _: c.refine(0),
    "one and a half steps": lambda c, _: c.refine(1.5),
    "a guess for a word": lambda c, _: c.initial_guess("abc"),
    "a guess for another molecule": lambda c, _: c.initial_guess(pyscf_mole("H 0 0 0; F 0 0 0.9")),
    "a guess for a shifted molecule": lambda c, _: c.initial_guess(pyscf_mole(geometry(shift=1.0))),
    "a guess for another order of atoms": lambda c, _: c.initial_guess(pyscf_mole(geometry(order=[1, 0, 2]))),
    "a guess for a cation": lambda c, _: c.initial_guess(pyscf_mole(geometry(), charge=2)),
    "an unknown file format": lambda c, p: c.write(p / "x.xyz"),
    "an unknown field": lambda c, p: c.write(p / "x.cube", "aura"),
    "an orbital below all": lambda c, p: c.write(p / "x.cube", "homo-99"),
    "an orbital above all": lambda c, p: c.write(p / "x.cube", "lumo+999"),
    "an orbital of a negative number": lambda c, p: c.write(p / "x.cube", -1),
    "points closer than atoms are small": lambda c, p: c.write(p / "x.cube", spacing=1e-4),
    "points on top of one another": lambda c, p: c.write(p / "x.cube", spacing=0),
    "a spacing that is not a number": lambda c, p: c.write(p / "x.cube", spacing=float("nan")),
    "an infinite margin": lambda c, p: c.write(p / "x.cube", margin=float("inf")),
    "a negative margin": lambda c, p: c.write(p / "x.cube", margin=-1),
    "bands of a molecule": lambda c, _: c.band_structure(),
}  # fmt: skip


def geometry(shift=0.0, order=(0, 1, 2)):
    atoms = molecule("H2O")
    return [(atoms.symbols[k], tuple(atoms.positions[k] + shift)) for k in order]


def pyscf_mole(atom, **keywords):
    from pyscf import gto

    return gto.M(atom=atom, basis="sto-3g", verbose=0, **keywords)


@pytest.mark.scf
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_that_makes_no_sense_is_refused(name, calc, tmp_path):
    atoms = molecule("H2O")
    atoms.calc = calc
    with pytest.raises(HelmError) as caught:
        QUESTIONS[name](calc, tmp_path)
    assert 10 < len(str(caught.value)) < 2000
    assert list(tmp_path.iterdir()) == []


# --- physics ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bond:
    """A molecule with the part behind its second atom pulled away from the first."""

    molecule: str
    length: float
    verdict: str = "refused"
    second: int = 1

    def atoms(self) -> Atoms:
        """The geometry."""
        atoms = molecule(self.molecule)
        axis = atoms.positions[self.second] - atoms.positions[0]
        distance = np.linalg.norm(axis)
        near = atoms.get_distances(0, range(len(atoms)))
        far = atoms.get_distances(self.second, range(len(atoms)))
        atoms.positions[far < near] += axis / distance * (self.length - distance)
        return atoms


BONDS = {
    "fluorine, 1.8 Å": Bond("F2", 1.8),
    "fluorine in its hole, 2.28 Å": Bond("F2", 2.28),
    "fluorine atoms": Bond("F2", 6.0),
    "hydrogen crushed, 0.4 Å": Bond("H2", 0.4),
    "hydrogen, 1.2 Å": Bond("H2", 1.2),
    "hydrogen atoms": Bond("H2", 3.0),
    "hydrogen fluoride, 1.25 Å": Bond("HF", 1.25, "extrapolating"),
    "hydrogen fluoride apart": Bond("HF", 3.0),
    "nitrogen, 1.3 Å": Bond("N2", 1.3, "extrapolating"),
    "nitrogen, 1.8 Å": Bond("N2", 1.8),
    "nitrogen atoms": Bond("N2", 3.0),
    "carbon monoxide": Bond("CO", 1.13, "extrapolating"),
    "carbon and oxygen atoms": Bond("CO", 3.0),
    "hydrogen peroxide, O–O 1.8 Å": Bond("H2O2", 1.8, "extrapolating"),
    "two hydroxyl radicals": Bond("H2O2", 2.4),
    "water, O–H 1.4 Å": Bond("H2O", 1.4, "extrapolating"),
    "water without a hydrogen, 2.4 Å": Bond("H2O", 2.4),
    "water without a hydrogen, 4 Å": Bond("H2O", 4.0),
    "methane without a hydrogen": Bond("CH4", 2.5),
    "two methyl radicals": Bond("C2H6", 2.6),
    "methyl and hydroxyl radicals": Bond("CH3OH", 2.6),
    "two amino radicals": Bond("N2H4", 2.6),
    "an oxygen atom alone": Bond("O", 0.0),
    "ozone": Bond("O3", 1.27, "extrapolating"),
    "nitromethane": Bond("CH3NO2", 1.49, "extrapolating"),
    "benzene": Bond("C6H6", 1.395, "extrapolating"),
}


@pytest.mark.parametrize("name", BONDS)
def test_a_bond_beyond_what_the_model_knows_is_never_passed_in_silence(name):
    case = BONDS[name]
    calc = HELMCalculator(PURE)
    atoms = Atoms("O") if case.molecule == "O" else case.atoms()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        calc.get_potential_energy(atoms)
    assert any("extrapolation" in str(w.message) or "worth nothing" in str(w.message) for w in told)
    verdict = calc.get_verdict(atoms)
    assert verdict.trust == case.verdict, str(verdict)
    assert ("restricted Kohn–Sham" in str(verdict)) == (case.verdict == "refused")


KNOWN = ("H2", "HF", "N2", "F2", "H2O", "CH4", "NH3", "CH3OH", "H2CO", "C2H6", "HCN")


@pytest.mark.parametrize("name", KNOWN)
def test_and_no_alarm_is_raised_for_molecules_of_the_training_kind(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc = HELMCalculator(PURE)
        calc.get_potential_energy(molecule(name))
    assert calc.get_verdict(molecule(name)).trust == "trusted"


ORGANIC_BONDS = {
    "fluorine in a hole of others, 2.28 Å": Bond("F2", 2.28),
    "two fluorine atoms": Bond("F2", 6.0),
    "two chlorine atoms": Bond("Cl2", 4.0),
    "hydrogen crushed to 0.4 Å": Bond("H2", 0.4),
    "two hydrogen atoms": Bond("H2", 3.0),
    "hydrogen and fluorine atoms": Bond("HF", 3.0),
    "two nitrogen atoms": Bond("N2", 3.0),
    "hydrogen peroxide cut in two": Bond("H2O2", 2.4),
    "water and its lost hydrogen": Bond("H2O", 2.4),
    "two methyls": Bond("C2H6", 2.6),
    "two silyls": Bond("Si2H6", 4.0),
    "ozone to the default model": Bond("O3", 1.27, "extrapolating"),
}
"""The same for the default model, whose training set holds stretched bonds."""


@pytest.mark.parametrize("name", ORGANIC_BONDS)
def test_the_default_model_refuses_broken_bonds_too(name):
    case, calc = ORGANIC_BONDS[name], HELMCalculator()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        calc.get_potential_energy(case.atoms())
    assert told
    assert calc.get_verdict(case.atoms()).trust == case.verdict


ORGANIC = (
    "H2", "N2", "CO2", "H2O", "NH3", "CH4", "CH3OH", "H2CO", "HCN", "C6H6", "C5H5N", "C4H4S", "CH3Cl", "SiH4",
    "SH2", "CH3NO2", "CH3COOH", "CH3CONH2", "trans-butane",
)  # fmt: skip
"""Molecules of ASE's G2 set that the default model takes to be like those of its training."""


@pytest.mark.parametrize("name", ORGANIC)
def test_the_default_model_raises_no_alarm_for_what_everyone_tries_first(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc = HELMCalculator()
        calc.get_potential_energy(molecule(name))
    assert calc.get_verdict(molecule(name)).trust == "trusted"


OPEN_SHELL_BONDS = {
    "methyl and its hydrogen": (Bond("CH3", 1.62), 0, 2),
    "the carbons of ethyl": (Bond("C2H5", 2.23), 0, 2),
    "carbon and oxygen of methoxy": (Bond("CH3O", 2.08), 0, 2),
    "amino and its hydrogen": (Bond("NH2", 1.54), 0, 2),
    "silyl and its hydrogen": (Bond("SiH3", 2.22), 0, 2),
    "carbon and oxygen of formyl": (Bond("HCO", 1.79), 0, 2),
    "the carbons of acetyl": (Bond("CH3CO", 2.27), 0, 2),
    "hydroxyl and its hydrogen": (Bond("OH", 1.47), 0, 2),
    "methylthiyl": (Bond("CH3S", 2.70), 0, 2),
    "triplet methylene and its hydrogen": (Bond("CH2_s3B1d", 1.62), 0, 3),
    "carbon and oxygen of a methanol cation": (Bond("CH3OH", 2.13), 1, 2),
    "a benzene cation and its hydrogen": (Bond("C6H6", 1.63, second=6), 1, 2),
}
"""Open shells with a bond of one and a half lengths; charge and multiplicity."""


@pytest.mark.parametrize("name", OPEN_SHELL_BONDS)
def test_stretched_bonds_of_open_shells_are_never_passed_in_silence(name):
    case, charge, multiplicity = OPEN_SHELL_BONDS[name]
    calc = HELMCalculator(charge=charge, multiplicity=multiplicity)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        calc.get_potential_energy(case.atoms())
    assert any("extrapolation" in str(w.message) or "worth nothing" in str(w.message) for w in told)
    assert calc.get_verdict(case.atoms()).trust != "trusted"


CASES = [
    *STRUCTURES,
    *SETTINGS,
    *(f"question: {q}" for q in QUESTIONS),
    *(f"bond: {b}" for b in BONDS),
    *KNOWN,
    *ORGANIC_BONDS,
    *OPEN_SHELL_BONDS,
    *(f"default: {name}" for name in ORGANIC),
]
