"""Print the molecules of the indirect study: H, C, N, O, up to seven heavy atoms, with the split of each.

    python make_list.py > molecules.smi

All molecules of up to three heavy atoms; of four to seven a random choice (QUOTA), of test molecules more
than their share of 6 %.  The split is that of the project's hash rule.  Those of six and seven heavy
atoms grow from a random choice of those of five and six, by the steps and filters of
``examples/labelling/grow_smiles.py``.  The molecules of ``make_large.py`` are left out.
"""

import hashlib
import sys
from pathlib import Path

from rdkit import Chem, rdBase

sys.path.insert(0, str(Path(__file__).parents[2] / "labelling"))
import grow_smiles
from make_large import SMILES as LARGE

QUOTA = {
    4: {"train": 80, "val": 8, "test": 10},
    5: {"train": 80, "val": 10, "test": 15},
    6: {"train": 90, "val": 12, "test": 20},
    7: {"train": 110, "val": 15, "test": 25},
}
"""Heavy atoms → molecules of each part."""
PARENTS = 400
"""Molecules of each size from which those of the next grow."""


def main() -> None:
    grow_smiles.ELEMENTS.pop("F")
    print("# make_list.py\n# SMILES\tsplit")
    found: set[str] = set()
    for size in range(1, 8):
        found = grow_smiles.grow(size) if size <= 5 else grown_from(found)
        parts = {s: grow_smiles.split(s, size) for s in shuffled(found) if s not in LARGE}
        for part in ("train", "val", "test"):
            members = [s for s, p in parts.items() if p == part]
            for smiles in sorted(members[: QUOTA[size][part]] if size in QUOTA else members):
                print(f"{smiles}\t{part}")
    print(f"{grow_smiles.HYDROGEN}\ttrain")


def grown_from(molecules: set[str]) -> set[str]:
    """Stable molecules with one heavy atom more, from some of ``molecules``."""
    with rdBase.BlockLogs():
        chains = {s for m in shuffled(molecules)[:PARENTS] for s in grow_smiles._with_one_more_atom(m)}
        rings = {s for m in shuffled(chains)[:PARENTS] for s in grow_smiles._with_one_more_ring(m)}
        patterns = [Chem.MolFromSmarts(pattern) for pattern in grow_smiles.UNSTABLE.values()]
        return {s for s in chains | rings if not grow_smiles._is_unstable(Chem.MolFromSmiles(s), patterns)}


def shuffled(molecules: set[str]) -> list[str]:
    """In an order that is random but fixed."""
    return sorted(molecules, key=lambda s: hashlib.sha256(f"0 {s}".encode()).hexdigest())


if __name__ == "__main__":
    main()
