"""Crystals worth labelling: supercells, strained and with atoms off their places."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from helm_ase.errors import SettingError, StructureError
from helm_ase.representation.box import is_isolated, refuse_periodic_vacuum
from helm_ase.representation.labelled_crystal import crystal_key
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.periodic_pairs import periodic_pairs
from helm_ase.representation.structure_files import stream_frames
from helm_ase.sampling.campaign import SamplingResult
from helm_ase.sampling.filters import SHORTEST_BOND
from helm_ase.sampling.molecules import SMILES_SUFFIXES
from helm_ase.sampling.seeds import derive_seed, generator
from helm_ase.sampling.task import DECIMALS, Drop

LARGEST_STRAIN = 0.5
AS_GIVEN, DISTORTED = "as given", "distorted"


@dataclass(frozen=True)
class CrystalSampling:
    """How crystals are distorted; equal settings and crystals give equal structures.

    Raises
    ------
    SettingError
        If a value is outside what is allowed.
    """

    distortions: int = 10
    """Distorted structures of each crystal, in addition to the crystal as given."""
    strain: float = 0.06
    """Elements of the symmetric strain of the periodic directions are uniform in ± this."""
    rattle: float = 0.05
    """Standard deviation of every coordinate of every atom, Å."""
    supercell: tuple[int, int, int] = (1, 1, 1)
    """Repeats of the cell along its vectors."""
    seed: int = 0
    limit: int | None = None
    """Largest number of structures; they are a random sample of all."""

    def __post_init__(self) -> None:
        if not 0 <= self.strain <= LARGEST_STRAIN:
            raise SettingError(f"strain is {self.strain}; it must be from 0 to {LARGEST_STRAIN}")
        if not 0 <= self.rattle < float("inf"):
            raise SettingError(f"rattle is {self.rattle} Å; it must not be negative")
        if self.distortions < 0 or (self.limit is not None and self.limit < 1):
            raise SettingError("distortions must be 0 or more, a limit 1 or more")


def read_crystals(files: Iterable[str | Path], pbc: str | None = None) -> list[Atoms]:
    """Crystals of files, each once; an empty list if the first structure is a molecule, also one in a box.

    So it is if a file of SMILES comes first; beside crystals both are refused.  ``pbc`` is that of
    :func:`~helm_ase.representation.structure_files.read_frames`.

    Raises
    ------
    StructureError
        If a file cannot be read, there are molecules beside crystals, or a periodic direction is vacuum.
    """
    crystals: dict[str, Atoms] = {}
    for where, atoms in _frames(files, pbc):
        if atoms is None or not atoms.pbc.any() or is_isolated(atoms):
            if not crystals:
                return []
            raise StructureError(
                f"{where} is a molecule, and crystals stand before it: sample them apart, or take molecules "
                f"out of their boxes with --no-pbc"
            )
        check_neutral(atoms, where)
        try:
            refuse_periodic_vacuum(atoms)
        except StructureError as error:
            raise StructureError(f"{where}: {error}") from error
        crystals.setdefault(_key(atoms), atoms)
    found = [crystals[key] for key in sorted(crystals)]
    counts = Counter(str(atoms.info["name"]) for atoms in found)
    for atoms in found:
        if counts[str(atoms.info["name"])] > 1:  # of files or frames with the same name
            atoms.info["name"] = f"{atoms.info['name']}-{_key(atoms)[:6]}"
    return found


def check_neutral(atoms: Atoms, where: str) -> None:
    """Refuse a crystal that states a charge or an open shell.

    Raises
    ------
    StructureError
        Labels of crystals are neutral closed shells.
    """
    state = atoms.info.get("charge", 0), atoms.info.get("multiplicity", 1)
    if state not in ((0, 1), (0, None), (None, 1), (None, None)):
        raise StructureError(
            f"{where} states charge {state[0]} and multiplicity {state[1]}, but crystals are neutral closed "
            "shells: take both out of the file"
        )


def _frames(files: Iterable[str | Path], pbc: str | None) -> Iterator[tuple[str, Atoms | None]]:
    """Every frame, named; None for a file of SMILES."""
    for file in map(Path, files):
        if file.suffix.lower() in SMILES_SUFFIXES:
            yield str(file), None
        elif not file.is_file():
            raise StructureError(f"there is no file {file}")
        else:
            for number, atoms in enumerate(stream_frames(str(file), pbc), start=1):
                atoms.info.setdefault("name", file.stem if number == 1 else f"{file.stem}-{number}")
                yield f"{file}, frame {number}", atoms


def _key(atoms: Atoms) -> str:
    return crystal_key(atoms.numbers, atoms.positions, Lattice.of_atoms(atoms))


def sample_crystals(crystals: Sequence[Atoms], settings: CrystalSampling | None = None) -> SamplingResult:
    """Supercells as given, and strained and rattled ones, in a random but reproducible order.

    Parameters
    ----------
    crystals
        Periodic along the vectors of their cells for which ``pbc`` is set.
    settings
        How many, and how far.

    Raises
    ------
    StructureError
        If a crystal has no lattice, or repeats along directions that are not periodic are asked for.
    """
    settings = settings or CrystalSampling()
    result = SamplingResult([], [], len(crystals))
    drawn = [
        (derive_seed(settings.seed, _key(atoms), number), number, atoms)
        for atoms in crystals
        for number in range(settings.distortions + 1)
    ]
    for seed, number, atoms in sorted(drawn, key=lambda one: one[0]):
        if settings.limit is not None and len(result.structures) >= settings.limit:
            break
        made = _draw(atoms, number, seed, settings)
        if _too_close(made):
            name = str(made.info["name"])
            result.drops.append(Drop(name, "crystal", DISTORTED, 0.0, seed, "atoms too close", name))
        else:
            result.structures.append(made)
    return result


def _draw(atoms: Atoms, number: int, seed: int, settings: CrystalSampling) -> Atoms:
    Lattice.of_atoms(atoms).supercell(settings.supercell)  # refuses what makes no sense
    made = atoms.repeat(settings.supercell)
    made.calc, made.info = None, {k: v for k, v in atoms.info.items() if k in ("smiles", "split")}
    name = str(atoms.info.get("name", atoms.get_chemical_formula()))
    if settings.supercell != (1, 1, 1):
        name += "-" + "x".join(map(str, settings.supercell))
    made.info |= {
        "name": f"{name}-{number:04d}", "kind": "crystal", "method": DISTORTED if number else AS_GIVEN,
        "seed": seed,
    }  # fmt: skip
    if number:
        distort(made, settings.strain, settings.rattle, generator(seed))
    return made


def distort(atoms: Atoms, strain: float, rattle: float, random: np.random.Generator) -> None:
    """Strain a crystal along its periodic directions and displace its atoms, in place.

    Parameters
    ----------
    atoms
        The crystal.
    strain
        Elements of the strain in Cartesian directions are uniform in ± this.
    rattle
        Standard deviation of every coordinate, Å.
    random
        Where the numbers come from.
    """
    along = _projector(Lattice.of_atoms(atoms))
    drawn = random.uniform(-strain, strain, (3, 3))
    stretch = np.eye(3) + along @ (0.5 * (drawn + drawn.T)) @ along
    atoms.set_cell(atoms.cell.array @ stretch)
    places = atoms.positions @ stretch + random.normal(scale=rattle, size=atoms.positions.shape)
    atoms.positions = np.round(places, DECIMALS)


def _projector(lattice: Lattice) -> NDArray[np.float64]:
    """Onto the space that the periodic lattice vectors span, (3, 3)."""
    axes = np.linalg.qr(lattice.cell[lattice.pbc].T)[0]
    return np.asarray(axes @ axes.T)


def _too_close(atoms: Atoms) -> bool:
    radii = covalent_radii[atoms.numbers]
    lattice = Lattice.of_atoms(atoms)
    near = periodic_pairs(atoms.numbers, atoms.positions, 2 * SHORTEST_BOND * radii.max(), lattice)
    i, j = near.pairs
    apart = atoms.positions[j] - atoms.positions[i] + lattice.vectors(near.shifts)
    return bool((np.linalg.norm(apart, axis=1) < SHORTEST_BOND * (radii[i] + radii[j])).any())


def summarise_crystals(result: SamplingResult) -> str:
    """Counts of structures by size, and of what was dropped."""
    sizes = Counter(f"{atoms.get_chemical_formula()} ({atoms.pbc.sum()}D)" for atoms in result.structures)
    lines = [f"{len(result.structures)} structures of {result.molecules} crystals"]
    lines += [f"  {name}: {count}" for name, count in sorted(sizes.items())]
    lines.append(f"{len(result.drops)} dropped" + (", atoms too close" if result.drops else ""))
    return "\n".join(lines)
