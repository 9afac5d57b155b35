"""From SMILES to bonds and to a first geometry, with RDKit."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import StructureError
from helm_ase.sampling.optional import load
from helm_ase.sampling.placement import place
from helm_ase.sampling.seeds import derive_seed, generator
from helm_ase.sampling.states import atomic_multiplicity

BESIDE = (2.2, 3.2)
"""Closest distance between the parts of one SMILES before they are relaxed, Å."""
MAX_PERCEIVED = 40
"""Atoms beyond which bond orders are not worked out from a geometry: the search may not end."""


class Constitution(NamedTuple):
    """What a SMILES says about a molecule, hydrogen atoms included."""

    smiles: str
    """Canonical."""
    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    bonds: NDArray[np.bool_]
    """Bond matrix, (N, N)."""
    charge: int
    """e."""
    multiplicity: int
    """2S + 1: of a molecule with all unpaired electrons parallel, of an atom that of its ground state."""


def parse_smiles(smiles: str, multiplicity: int | None = None) -> Constitution:
    """Canonical SMILES, atoms, bonds, charge and multiplicity, which may be given.

    The order of the atoms is that of the canonical SMILES, so that spellings of one molecule agree.

    Raises
    ------
    StructureError
        If RDKit cannot read it, or if an atom is not an element.
    """
    canonical = canonical_smiles(smiles)
    molecule = _molecule(canonical)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)
    bonds = np.asarray(load("rdkit.Chem").GetAdjacencyMatrix(molecule), dtype=bool)
    radicals = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    charge = int(load("rdkit.Chem").GetFormalCharge(molecule))
    if multiplicity is None:
        alone = len(numbers) == 1
        multiplicity = atomic_multiplicity(int(numbers[0]), charge) if alone else 1 + int(radicals)
    return Constitution(canonical, numbers, bonds, charge, multiplicity)


def canonical_smiles(smiles: str) -> str:
    """RDKit's canonical SMILES, without atom maps; of several parts: theirs, sorted and joined by '.'.

    Raises
    ------
    StructureError
        If RDKit cannot read it, or if an atom is not an element.
    """
    chem = load("rdkit.Chem")
    with load("rdkit.rdBase").BlockLogs():
        molecule = chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise StructureError(f"{smiles!r} is no SMILES that RDKit can read; check brackets and valences")
        for atom in molecule.GetAtoms():
            if atom.GetAtomicNum() == 0:
                raise StructureError(f"{smiles!r} has a place holder (*); write an element instead")
            atom.SetAtomMapNum(0)
        parts = str(chem.MolToSmiles(molecule)).split(".")
        # alone, a part may be written in another way than beside others
        return ".".join(sorted(chem.MolToSmiles(chem.MolFromSmiles(part)) for part in parts))


def embed(smiles: str, seed: int) -> NDArray[np.float64] | None:
    """One conformer, Å, (N, 3): distance geometry (ETKDGv3), then MMFF94 where it has the parameters.

    Several parts are made apart and placed beside one another.  None if no geometry satisfies the bonds.
    """
    with load("rdkit.rdBase").BlockLogs():
        molecule = _molecule(smiles)
        where: list[tuple[int, ...]] = []
        parts = load("rdkit.Chem").GetMolFrags(molecule, asMols=True, fragsMolAtomMapping=where)
        positions = np.zeros((molecule.GetNumAtoms(), 3))
        placed: NDArray[np.float64] | None = None
        random = generator(derive_seed(seed, "parts"))
        for number, part in enumerate(parts):
            own = _embed_part(part, seed + number)
            if own is None:
                return None
            placed = own if placed is None else place(placed, own, BESIDE, random)
        assert placed is not None
        positions[[k for atoms in where for k in atoms]] = placed
        return positions


def _embed_part(molecule: Any, seed: int) -> NDArray[np.float64] | None:
    """One conformer of a connected molecule, Å, (N, 3)."""
    force_field = load("rdkit.Chem.AllChem")
    settings = force_field.ETKDGv3()
    settings.randomSeed = seed % 2**31
    settings.maxIterations = 50
    if force_field.EmbedMolecule(molecule, settings) < 0:
        settings.useRandomCoords = True
        if force_field.EmbedMolecule(molecule, settings) < 0:
            return None
    if force_field.MMFFHasAllMoleculeParams(molecule):
        force_field.MMFFOptimizeMolecule(molecule, maxIters=500)
    return np.array(molecule.GetConformer().GetPositions())


def perceive_smiles(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], charge: int, multiplicity: int
) -> str:
    """Canonical SMILES read off a geometry, without stereochemistry.

    Empty where that fails or where the SMILES found has another charge, multiplicity or number of atoms.
    """
    if len(numbers) > MAX_PERCEIVED:
        return ""
    with load("rdkit.rdBase").BlockLogs():
        try:
            smiles = canonical_smiles(_bond_orders(numbers, positions, charge, multiplicity == 1))
            molecule = parse_smiles(smiles)
        except (ValueError, RuntimeError):  # StructureError is a ValueError
            return ""
    same = (molecule.charge, molecule.multiplicity) == (charge, multiplicity)
    return smiles if same and sorted(molecule.numbers) == sorted(numbers) else ""


def _bond_orders(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], charge: int, closed_shell: bool
) -> str:
    chem, perception = load("rdkit.Chem"), load("rdkit.Chem.rdDetermineBonds")
    molecule = chem.RWMol()
    conformer = chem.Conformer(len(numbers))
    for index, (number, position) in enumerate(zip(numbers, positions, strict=True)):
        molecule.AddAtom(chem.Atom(int(number)))
        conformer.SetAtomPosition(index, [float(x) for x in position])
    molecule.AddConformer(conformer)
    # keep radicals instead of charge-separated formulas
    perception.DetermineBonds(molecule, charge=charge, allowChargedFragments=closed_shell, embedChiral=False)
    for atom in molecule.GetAtoms():  # or reading would complete a radical with hydrogen
        atom.SetNoImplicit(True)
    return str(chem.MolToSmiles(chem.RemoveHs(molecule), isomericSmiles=False))


def _molecule(smiles: str) -> Any:
    chem = load("rdkit.Chem")
    with load("rdkit.rdBase").BlockLogs():
        return chem.AddHs(chem.MolFromSmiles(smiles))
