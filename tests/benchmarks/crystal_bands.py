"""Time of the bands of a graphene supercell along a path, everything included, beside PySCF's SCF and bands.

    python tests/benchmarks/crystal_bands.py MODEL [--cells 4] [--points 60] [--mesh 2] [--no-pyscf]
                                             [--json OUT]

A cell of 2 n² atoms, displaced by 0.03 Å at random, n = ``--cells``; bands along Γ–M–K–Γ.  Of the model:
loading, H(T) and its diagonalisation at every point.  Of PySCF: a converged calculation at the model's level
on a mesh of m × m points with time reversal, and its bands at the same points.  Processor time of one thread,
each once, in this process, without the import of libraries.  Errors are those of the occupied levels, from
the highest one.  Of 32 atoms PySCF needs more than a quarter of an hour.
"""

from common import header, machine, one_thread, table, timed

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import graphene  # noqa: E402

from helm_ase import HELMCalculator  # noqa: E402
from helm_ase.checkpoint import load_shared  # noqa: E402
from helm_ase.qc.crystal_scf import CrystalSCF, forget_operators  # noqa: E402
from helm_ase.representation.lattice import Lattice  # noqa: E402
from helm_ase.units import HARTREE_IN_EV  # noqa: E402

VALENCE = 4
"""Valence electrons of carbon."""


def supercell(n: int) -> Atoms:
    """n × n cells of graphene, distorted."""
    atoms = graphene(a=2.46, size=(n, n, 1))
    atoms.positions += np.random.default_rng(0).normal(scale=0.03, size=atoms.positions.shape)
    return atoms


def by_model(model: str, atoms: Atoms, points: int) -> tuple[Any, dict[str, float]]:
    """Bands of the model, and what they took."""
    calc, loading = timed(lambda: HELMCalculator(model=model))
    bands, solving = timed(lambda: calc.band_structure("GMKG", npoints=points, atoms=atoms))
    return bands, {"loading": loading, "H and bands": solving}


def by_pyscf(model: str, atoms: Atoms, kpts: np.ndarray, mesh: int) -> tuple[np.ndarray, dict[str, float]]:
    """Levels of PySCF in eV, (K, n), and what they took."""
    level, lattice = load_shared(model).level, Lattice.of_atoms(atoms)
    crystal = CrystalSCF(atoms.numbers, atoms.positions, lattice, level, (mesh, mesh, 1))
    mf, scf = timed(crystal.converge)
    forget_operators(mf)
    levels, bands = timed(lambda: mf.get_bands(mf.cell.get_abs_kpts(kpts))[0])
    return np.array(levels) * HARTREE_IN_EV, {"SCF": scf, "bands": bands}


def occupied_from_top(levels: np.ndarray, count: int) -> np.ndarray:
    """Occupied levels from the highest one, (K, count)."""
    return levels[:, :count] - levels[:, :count].max()


def main(options: argparse.Namespace) -> dict[str, Any]:
    atoms = supercell(options.cells)
    bands, times = by_model(options.model, atoms, options.points)
    found: dict[str, Any] = {"atoms": len(atoms), "model": times}
    rows = [["model", *(f"{x:.2f}" for x in times.values()), f"{sum(times.values()):.2f}"]]
    if not options.no_pyscf:
        levels, spent = by_pyscf(options.model, atoms, bands.path.kpts, options.mesh)
        count = VALENCE * len(atoms) // 2
        ours, theirs = (occupied_from_top(x, count) for x in (bands.energies[0], levels))
        found |= {"pyscf": spent, "occupied_meV": float(1e3 * np.abs(ours - theirs).mean())}
        rows.append(["PySCF", *(f"{x:.2f}" for x in spent.values()), f"{sum(spent.values()):.2f}"])
    print(header("Bands", **machine(), atoms=len(atoms), points=options.points, mesh=options.mesh))
    print("\n" + table(["CPU s", "loading; SCF", "H and bands; bands", "all"], rows))
    if "occupied_meV" in found:
        print(f"\nOccupied levels from the highest one: {found['occupied_meV']:.1f} meV mean absolute error")
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="checkpoint of a model of carbon crystals")
    parser.add_argument("--cells", type=int, default=4, help="cells along each direction (4)")
    parser.add_argument("--points", type=int, default=60, help="k points along the path (60)")
    parser.add_argument("--mesh", type=int, default=2, help="k points of the SCF along each direction (2)")
    parser.add_argument("--no-pyscf", action="store_true", help="the model alone")
    parser.add_argument("--json")
    main(parser.parse_args())
