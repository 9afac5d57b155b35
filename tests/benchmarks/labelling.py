"""Labels per hour and core beside a bare PySCF loop, and molecules per second from disk to targets.

    python tests/benchmarks/labelling.py [STRUCTURES.xyz] [--count 24] [--json OUT]

Both loops label the same molecules at B3LYP/def2-SVP (density fitting, grid level 2) with energy, forces,
Fock matrix, dipole and charges, one after the other on one core.  Times are CPU times of all processes taking
part, Dask and the writing of the file included, so that other work on the machine does not count.  Starting
Dask and importing PySCF happens once in a campaign: it is the part of its cost that does not grow with the
number of molecules, and is given by itself.

The second table reads the new file in random order, H0 (`sap`) and orbitals from the cache, as training does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import header, machine, one_thread, table

one_thread()

import ase.io  # noqa: E402
import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import molecule  # noqa: E402

NAMES = (
    "CH3CHO", "CH3OH", "CH3CN", "HCOOH", "C2H6", "H2CO", "C3H4_C3v", "HCN", "CH3CH2OH", "NH3", "CO2",
)  # fmt: skip

BARE = """
import sys, time
import ase.io
from pyscf import dft, gto, lib
lib.num_threads(1)
frames = ase.io.read(sys.argv[1], ":")
begin = time.process_time()
for atoms in frames:
    mol = gto.M(atom=list(zip(atoms.symbols, atoms.positions.tolist())), basis="def2-svp", verbose=0)
    mf = dft.RKS(mol, xc="b3lyp").density_fit()
    mf.grids.level = 2
    mf.conv_tol = 1e-9
    mf.kernel()
    assert mf.converged
    mf.get_fock(), mf.nuc_grad_method().kernel(), mf.dip_moment(verbose=0), mf.mulliken_pop(verbose=0)
print(time.process_time() - begin)
"""


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


def bare_loop(path: Path) -> float:
    """CPU seconds of the loop a PySCF user would write, without imports."""
    done = subprocess.run([sys.executable, "-c", BARE, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def campaign(path: Path, output: Path) -> float:
    """CPU seconds of ``helm-ase label``, all its processes included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "helm_ase.cli", "label", str(path), "-o", str(output)]
    subprocess.run([*command, "--grid", "2", "--workers", "1", "--quiet"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_labelling(frames: list[Atoms], folder: Path) -> dict[str, float]:
    """Cost of a label in both ways, from the difference between all molecules and the first half."""
    half = frames[: len(frames) // 2]
    times: dict[str, list[float]] = {"bare": [], "campaign": []}
    for name, part in (("half", half), ("all", frames)):
        path = folder / f"{name}.xyz"
        ase.io.write(path, part)
        times["bare"].append(bare_loop(path))
        times["campaign"].append(campaign(path, folder / f"{name}.h5"))
    bare, ours = (t[1] - t[0] for t in times.values())
    count = len(frames) - len(half)
    return {
        "molecules": float(len(frames)),
        "bare labels/hour/core": 3600 * count / bare,
        "campaign labels/hour/core": 3600 * count / ours,
        "overhead": ours / bare - 1,
        "start, CPU s": times["campaign"][1] - ours / count * len(frames),
    }


def measure_reading(path: Path, least: float = 3.0) -> dict[str, float]:
    """Molecules per CPU second from the label file and its cache to graph and block targets."""
    from helm_ase.data.dataset import MoleculeDataset
    from helm_ase.data.formats import open_labels
    from helm_ase.qc import Baseline

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
        labelling = measure_labelling(frames, Path(folder))
        reading = measure_reading(Path(arguments.labels or Path(folder) / "all.h5"))
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
    parser.add_argument("--labels", help="label file for the second table (default: the one made here)")
    parser.add_argument("--json", help="write the results to this file")
    main(parser.parse_args())
