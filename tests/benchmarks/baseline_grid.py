"""How much the orientation of a molecule changes the levels of H0, for several integration grids.

    python tests/benchmarks/baseline_grid.py [--molecules H2O CH3CH2OH CH3CONH2] [--turns 2]

Prints, per molecule of ASE's g2 set and grid (radial, angular points), the largest change of any level
of the ``minao`` baseline and of any occupied one over random rotations, and the largest change of a level
against PySCF's level-3 grid (50, 302 on hydrogen; 75, 302 on C, N, O, F), in µEh.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402

import numpy as np  # noqa: E402
from ase.build import molecule  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.linalg import eigvalsh  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402

from helm_ase.qc.baseline import minao_hamiltonian  # noqa: E402
from helm_ase.qc.level import LevelOfTheory  # noqa: E402
from helm_ase.qc.molecule import build_mole  # noqa: E402

LEVEL_3 = {"default": (75, 302), "H": (50, 302)}
GRIDS = {"level 3": LEVEL_3, "(50, 434)": (50, 434)}


def levels(name: str, grid: object, seed: int | None) -> tuple[NDArray[np.float64], int]:
    """Levels of H0 in µEh of one orientation, and the number of occupied ones."""
    atoms, turn = (
        molecule(name),
        np.eye(3) if seed is None else Rotation.random(random_state=seed).as_matrix(),
    )
    mole = build_mole(atoms.numbers, atoms.positions @ turn.T, LevelOfTheory().basis)
    h0 = minao_hamiltonian(mole, LevelOfTheory(), grid)  # type: ignore[arg-type]
    return eigvalsh(h0, mole.intor("int1e_ovlp")) * 1e6, mole.nelectron // 2


def main(names: list[str], turns: int) -> None:
    """Measure and print."""
    rows = []
    for name in names:
        reference, n = levels(name, LEVEL_3, None)
        for label, grid in GRIDS.items():
            first = levels(name, grid, None)[0]
            change = np.abs([levels(name, grid, seed)[0] - first for seed in range(1, turns + 1)])
            shift = np.abs(first - reference).max()
            rows.append([name, label, f"{change.max():.2f}", f"{change[:, :n].max():.2f}", f"{shift:.2f}"])
    print(header("Orientation in the baseline, µEh", **machine()), "\n")
    print(table(["molecule", "grid", "turned, any level", "turned, occupied", "against level 3"], rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--molecules", nargs="*", default=["H2O", "CH3CH2OH", "CH3CONH2"])
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    main(options.molecules, options.turns)
