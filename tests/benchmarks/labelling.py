"""Labels per hour and core beside a bare PySCF loop, and molecules per second from disk to targets.

    python tests/benchmarks/labelling.py [STRUCTURES.xyz] [--count 24] [--labels LABELS.h5] [--json OUT]

A label is energy, forces, Fock matrix, dipole and charges at B3LYP/def2-SVP (density fitting, grid level 2).
Two things may make a campaign slower than the loop a PySCF user would write.  Labelling a molecule may take
longer: both are run in turn on the first eleven molecules, three times, and the shortest CPU time of each
counts, for this machine's processors are shared and one run differs from the next by 10 %.  And Dask, pipes,
journal and file cost something: that is the CPU time of all processes of ``helm-ase label`` beyond the time
inside the labels, which every label records, for all molecules and for half of them; the difference is what
a label costs, the rest what starting costs.

The second table reads a label file in random order, H0 (`sap`) and orbitals from the cache, as training does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import header, machine, one_thread, table

one_thread()

import ase.io  # noqa: E402
import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import molecule  # noqa: E402
from pyscf import dft, gto  # noqa: E402

from helm_ase.dataset.dataset import MoleculeDataset  # noqa: E402
from helm_ase.labels.formats import open_labels  # noqa: E402
from helm_ase.qc.labelling import LabelSettings, label_structure  # noqa: E402
from helm_ase.qc.level import Baseline, pyscf_level  # noqa: E402
from helm_ase.representation.structure import Structure  # noqa: E402

NAMES = (
    "CH3CHO", "CH3OH", "CH3CN", "HCOOH", "C2H6", "H2CO", "C3H4_C3v", "HCN", "CH3CH2OH", "NH3", "CO2",
)  # fmt: skip


def default_frames(count: int) -> list[Atoms]:
    """Distorted molecules of one to three heavy atoms."""
    rng = np.random.default_rng(0)
    frames = []
    for k in range(count):
        atoms = molecule(NAMES[k % len(NAMES)])
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        atoms.info["name"] = f"{k:04d}"
        frames.append(atoms)
    return frames


def bare(atoms: Atoms) -> None:
    """What a PySCF user would write."""
    mol = gto.M(
        atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), basis="def2-svp", verbose=0
    )
    mf = dft.RKS(mol, xc="b3lyp").density_fit()
    mf.grids.level = 2
    mf.conv_tol = 1e-9
    mf.kernel()
    assert mf.converged
    mf.get_fock(), mf.nuc_grad_method().kernel(), mf.dip_moment(verbose=0), mf.mulliken_pop(verbose=0)


def ours(atoms: Atoms) -> None:
    """The same through the package, without a campaign."""
    structure = Structure("molecule", atoms.numbers.astype(np.int64), atoms.positions)
    label_structure(structure, LabelSettings(pyscf_level(grid_level=2)))


def cpu_time(work: Callable[[Atoms], None], atoms: Atoms) -> float:
    """CPU seconds of this process."""
    begin = time.process_time()
    work(atoms)
    return time.process_time() - begin


def in_turn(frames: list[Atoms], rounds: int) -> tuple[float, float]:
    """Mean over molecules of the shortest CPU time, bare and through the package."""
    shortest = np.full((2, len(frames)), np.inf)
    for _ in range(rounds):
        for k, atoms in enumerate(frames):
            for row, work in enumerate((bare, ours)):
                shortest[row, k] = min(shortest[row, k], cpu_time(work, atoms))
    return float(shortest[0].mean()), float(shortest[1].mean())


def beyond_labels(frames: list[Atoms], folder: Path) -> float:
    """CPU seconds of all processes of a campaign, less those inside its labels."""
    path, output = folder / f"{len(frames)}.xyz", folder / f"{len(frames)}.h5"
    ase.io.write(path, frames)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "helm_ase.cli", "label", str(path), "-o", str(output)]
    subprocess.run([*command, "--grid", "2", "--workers", "1", "--quiet"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    inside = sum(label.details["cpu_s"] for label in open_labels(output))
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - inside


def measure_labelling(frames: list[Atoms], folder: Path, rounds: int) -> dict[str, float]:
    """Cost of a label in both ways."""
    half = frames[: len(frames) // 2]
    beyond = [beyond_labels(part, folder) for part in (half, frames)]
    each = (beyond[1] - beyond[0]) / (len(frames) - len(half))
    loop, package = in_turn(frames[: len(NAMES)], rounds)
    return {
        "molecules": float(len(frames)),
        "bare labels/hour/core": 3600 / loop,
        "campaign labels/hour/core": 3600 / (package + each),
        "overhead": (package + each) / loop - 1,
        "of it Dask, pipes, journal, file": each / loop,
        "start, CPU s": beyond[1] - each * len(frames),
    }


def measure_reading(path: Path, least: float = 3.0) -> dict[str, float]:
    """Molecules per CPU second from the label file and its cache to graph and block targets."""
    source = open_labels(path)
    data = MoleculeDataset(source, baseline=Baseline("sap"), cache=path.parent).prepare()
    begin, wall, count = time.process_time(), time.perf_counter(), 0
    rng = np.random.default_rng(0)
    while time.process_time() - begin < least:
        for k in rng.permutation(len(data)):
            data[int(k)]
            count += 1
    seconds, wall = time.process_time() - begin, time.perf_counter() - wall
    sizes = [label.hamiltonian.shape[-1] for label in source]
    return {
        "molecules in the file": float(len(source)),
        "mean AOs": float(np.mean(sizes)),
        "molecules/s/core": count / seconds,
        "molecules/s by the clock": count / wall,
    }


def main(arguments: argparse.Namespace) -> None:
    """Measure, print, write."""
    frames = default_frames(arguments.count)
    if arguments.structures:
        frames = ase.io.read(arguments.structures, index=":")[: arguments.count]
    with tempfile.TemporaryDirectory() as folder:
        labelling = measure_labelling(frames, Path(folder), arguments.rounds)
        reading = measure_reading(Path(arguments.labels or Path(folder) / f"{len(frames)}.h5"))
    print(header("Labelling and reading", **machine(), load_when_it_ended=os.getloadavg()[0]), "\n")
    for found in (labelling, reading):
        print(table(["quantity", "value"], [[k, f"{v:.4g}"] for k, v in found.items()]), "\n")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"labelling": labelling, "reading": reading}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("structures", nargs="?", help="default: distorted small molecules")
    parser.add_argument("--count", type=int, default=24, help="molecules to label (24)")
    parser.add_argument("--rounds", type=int, default=3, help="of the bare loop and the package in turn (3)")
    parser.add_argument("--labels", help="label file for the second table (default: the one made here)")
    parser.add_argument("--json", help="write the results to this file")
    main(parser.parse_args())
