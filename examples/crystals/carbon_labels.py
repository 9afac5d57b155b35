"""Label distorted carbon crystals with PBE and pseudopotentials.

    python carbon_labels.py carbon.h5
    python carbon_labels.py carbon.h5 --graphene 200 --bn 40
    python carbon_labels.py carbon_dzvp.h5 --basis gth-dzvp-molopt-sr

Kinds to learn: graphene, diamond, chains of carbon (from equal to alternating bonds), polyacetylene and, if
they are asked for, sheets of boron nitride ("bn"); cells are strained by up to 6 % and atoms displaced at
random, by 0.05 Å.  Every fifth frame of them is for validation.  What no model is to see in training (split
``test``): lonsdaleite, sheets of graphene with 18 atoms, the nanotubes (5, 0) and (3, 3) ("armchair"), and
graphene that is not distorted.  The same kind and number is the same structure everywhere.

Frames that the file holds already are left alone, so that a run may be stopped and gone on with, or extended
later.  A frame takes 10 to 30 s on one core, diamond 60 to 100 s, a sheet or nanotube some minutes; all
together three and a quarter hours.
"""

import argparse
import time

import numpy as np
from ase import Atoms
from ase.build import bulk, graphene, nanotube

from helm_ase.labels.crystals import CrystalSource, write_crystals
from helm_ase.qc.crystal import crystal_level
from helm_ase.qc.crystal_labelling import CrystalLabelSettings, label_crystal
from helm_ase.representation.lattice import Lattice

STRAIN, DISPLACEMENT = 0.06, 0.05
"""Largest element of the strain; standard deviation of displacements, Å."""
ALTERNATION = 0.08
"""Largest displacement of every second atom of a chain along it, Å."""
COUNTS = {
    "graphene": 126, "diamond": 44, "chain": 52, "polyacetylene": 66, "bn": 0, "lonsdaleite": 1, "sheet": 1,
    "nanotube": 1, "armchair": 1, "ideal": 1,
}  # fmt: skip
UNSEEN = ("lonsdaleite", "sheet", "nanotube", "armchair", "ideal")
ROLLED = {"nanotube": (5, 0), "armchair": (3, 3)}
"""Kind of nanotube → its indices (n, m)."""
CHAIN_MESH = (12, 1, 1)
"""Chains with equal bonds are metals, and points cost nothing."""


def crystal(kind: str, random: np.random.Generator) -> Atoms:
    """The crystal before it is distorted."""
    match kind:
        case "graphene" | "ideal":
            return graphene(a=2.46)
        case "bn":
            return graphene(formula="BN", a=2.50)
        case "sheet":
            return graphene(a=2.46, size=(3, 3, 1))
        case "diamond":
            return bulk("C", "diamond", 3.57)
        case "lonsdaleite":
            return lonsdaleite(2.52, 4.12)
        case "nanotube" | "armchair":
            tube = nanotube(*ROLLED[kind], length=1, bond=1.42)
            cell = [tube.cell[2, 2], 0, 0]
            return Atoms(tube.numbers, tube.positions[:, [2, 0, 1]], cell=cell, pbc=[1, 0, 0])
        case "chain":
            apart = 1.28 + random.uniform(0, ALTERNATION)
            return Atoms("C2", [(0, 0, 0), (apart, 0, 0)], cell=[2.56, 0, 0], pbc=[1, 0, 0])
        case "polyacetylene":
            x, y = 0.5 * 2.46 + random.uniform(-ALTERNATION, ALTERNATION), 0.33
            places = [(0, y, 0), (x, -y, 0), (0, y + 1.09, 0), (x, -y - 1.09, 0)]
            return Atoms("C2H2", places, cell=[2.46, 0, 0], pbc=[1, 0, 0])
    raise SystemExit(f"no kind {kind!r}; there are {', '.join(COUNTS)}")


def lonsdaleite(a: float, c: float) -> Atoms:
    """Hexagonal diamond, four atoms; lattice constants in Å."""
    third, twothirds = (1 / 3, 2 / 3), (2 / 3, 1 / 3)
    places = [(*third, 1 / 16), (*third, 7 / 16), (*twothirds, 9 / 16), (*twothirds, 15 / 16)]
    return Atoms("C4", cell=[a, a, c, 90, 90, 120], scaled_positions=places, pbc=True)


def frame(kind: str, number: int) -> Atoms:
    """The same structure for the same kind and number, whatever else is made."""
    random = np.random.default_rng([ord(kind[0]), number])
    atoms = crystal(kind, random)
    if kind == "ideal":
        return atoms
    strain = random.uniform(-STRAIN, STRAIN, (3, 3))
    strain = 0.5 * (strain + strain.T) * np.outer(atoms.pbc, atoms.pbc)
    lattice = Lattice.of_atoms(atoms)
    atoms.positions = atoms.positions @ (np.eye(3) + strain)
    atoms.cell = np.where(lattice.pbc[:, None], lattice.cell @ (np.eye(3) + strain), 0)
    atoms.positions += random.normal(scale=DISPLACEMENT, size=atoms.positions.shape)
    return atoms


def split_of(kind: str, number: int) -> str:
    """Every fifth frame of a kind that is learnt measures what has been learnt."""
    return "test" if kind in UNSEEN else "val" if number % 5 == 4 else "train"


def order_of(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Kinds in turn, so that a run that is stopped has seen all of them."""
    order = [(number / counts[kind], kind, number) for kind in counts for number in range(counts[kind])]
    return [(kind, number) for _, kind, number in sorted(order)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="LABELS.h5")
    for name, count in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N", help=f"frames ({count})")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no frame after so many")
    parser.add_argument("--cutoff", type=float, default=160.0, help="plane-wave cutoff, Hartree (160)")
    parser.add_argument("--basis", default="gth-szv-molopt-sr", help="valence basis (gth-szv-molopt-sr)")
    options = parser.parse_args()
    begin, level = time.monotonic(), crystal_level(basis=options.basis, plane_wave_cutoff=options.cutoff)
    try:
        known = {label.name for label in CrystalSource(options.labels)}
    except ValueError:
        known = set()
    for kind, number in order_of({name: getattr(options, name) for name in COUNTS}):
        name = f"{kind} {number}"
        if name in known or time.monotonic() - begin > options.seconds:
            continue
        atoms = frame(kind, number)
        mesh = CHAIN_MESH if kind in ("chain", "polyacetylene") else None
        label = label_crystal(
            name, atoms.numbers, atoms.positions, Lattice.of_atoms(atoms), CrystalLabelSettings(level, mesh),
            split_of(kind, number),
        )  # fmt: skip
        write_crystals(options.labels, [label], level, append=True)
        print(f"{name}: {label.energy:.3f} eV, {label.details['cpu_s']} s, mesh {label.mesh}", flush=True)
