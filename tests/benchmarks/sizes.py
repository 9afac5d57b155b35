"""Time and memory from 20 to 1000 atoms on one thread, each figure in a process of its own.

    python tests/benchmarks/sizes.py [--model NAME_OR_PATH] [--molecules C6 C12 ... W100 W333]
                                     [--what E+F "E+F again" H levels H0 E0] [--h0-up-to ATOMS] [--repeats 3]
                                     [--json OUT]

``C<n>`` is an n-alkane, ``W<n>`` a droplet of n water molecules, in which atoms have as many neighbours as
there can be.  Processor time, minimum of several runs (two of more than 150 atoms); peak memory of the whole
process, libraries and model included.

- E+F: energy and forces of the network, messages kept for the gradient; "again": computed twice (recompute);
- H: network and assembly of the correction;
- levels: HOMO and LUMO of a model Hamiltonian (kinetic energy and superposition of atomic potentials; the
  predicted correction is not added) by Lanczos iterations and, beside it, by a full diagonalisation;
- H0: baseline Hamiltonian of the model, once GFN2-xTB's charges are known, up to ``--h0-up-to`` atoms;
- E0: GFN2-xTB's energy and gradient.

Exponents of a power law in the number of atoms are those of the alkanes.
"""

from common import best, cpu_times, header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import cache  # noqa: E402
from multiprocessing import get_context  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from molecules import molecule  # noqa: E402
from scf import xtb_energy_and_forces  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from speed import NEUTRAL, exponent, peak_memory  # noqa: E402

from helm_ase.checkpoint import Checkpoint, load_model  # noqa: E402
from helm_ase.electronic import ElectronicStructure  # noqa: E402
from helm_ase.electronic.orbitals import LARGE  # noqa: E402
from helm_ase.prediction.electronic import make_graph, predict_energy  # noqa: E402
from helm_ase.qc.baseline import baseline_of_spins, sap_hamiltonian  # noqa: E402
from helm_ase.qc.molecule import build_mole, overlap  # noqa: E402
from helm_ase.qc.tight_binding import TightBinding  # noqa: E402

MOLECULES = ("C6", "C12", "C20", "C32", "C65", "C98", "W33", "W100", "W333")
SPACING = 3.104
"""Å between the molecules of a droplet: one gram per cubic centimetre."""
WATER = np.array([[0.0, 0.0, 0.0], [0.757, 0.586, 0.0], [-0.757, 0.586, 0.0]])


def droplet(n: int) -> Atoms:
    """The n places of a cubic lattice nearest to its centre, each with a water molecule turned at random."""
    side = np.arange(int(np.ceil(n ** (1 / 3))) + 3)
    places = np.stack(np.meshgrid(side, side, side), -1).reshape(-1, 3) - side.mean()
    places = SPACING * places[np.argsort((places**2).sum(1), kind="stable")[:n]]
    turns = Rotation.random(n, random_state=0).as_matrix()
    return Atoms(
        "OHH" * n, np.concatenate([place + WATER @ turn.T for place, turn in zip(places, turns, strict=True)])
    )


def structure(name: str) -> Atoms:
    """A droplet, or one of the molecules of the other scripts."""
    return droplet(int(name[1:])) if name[:1] == "W" and name[1:].isdigit() else molecule(name)


@cache
def model_of(name: str | None) -> Checkpoint:
    """The checkpoint, loaded once for all processes."""
    return load_model(name)


# -- one figure -------------------------------------------------------------------------------------------


def energy(checkpoint: Checkpoint, atoms: Atoms, recompute: bool) -> Callable[[], Any]:
    """Energy and forces."""
    return lambda: predict_energy(checkpoint.model, atoms, NEUTRAL, True, recompute=recompute)


def hamiltonian(checkpoint: Checkpoint, atoms: Atoms) -> Callable[[], Any]:
    """The network's part of H."""
    graph = make_graph(checkpoint.model, atoms, NEUTRAL)
    return lambda: checkpoint.model(graph, energy=False, hamiltonian=True)


def levels(checkpoint: Checkpoint, atoms: Atoms, full: bool) -> Callable[[], Any]:
    """HOMO and LUMO, by all levels or by Lanczos iterations."""
    mole = build_mole(atoms.numbers, atoms.positions, checkpoint.basis.name)
    h = torch.from_numpy(sap_hamiltonian(mole))
    s = torch.from_numpy(overlap(mole, checkpoint.basis).reorder("pyscf").values)

    def solve() -> tuple[float, float]:
        found = ElectronicStructure.solve(h, s, mole.nelectron)
        if full:
            _ = found.orbital_energies
        return found.homo, found.lumo

    return solve


def baseline(checkpoint: Checkpoint, atoms: Atoms) -> Callable[[], Any]:
    """H0, its charges being known."""
    mole = build_mole(atoms.numbers, atoms.positions, checkpoint.basis.name)
    e0 = None
    if checkpoint.baseline.charges:
        e0 = TightBinding(checkpoint.energy_baseline.for_charges)(atoms.numbers, atoms.positions, *NEUTRAL)
    return lambda: baseline_of_spins(mole, checkpoint.basis, checkpoint.level, checkpoint.baseline, e0)


def work_of(what: str, checkpoint: Checkpoint, atoms: Atoms) -> Callable[[], Any]:
    """What is to be timed."""
    match what:
        case "E+F" | "E+F again":
            return energy(checkpoint, atoms, what != "E+F")
        case "H":
            return hamiltonian(checkpoint, atoms)
        case "levels" | "all levels":
            return levels(checkpoint, atoms, what != "levels")
        case "H0":
            return baseline(checkpoint, atoms)
        case "E0":
            return lambda: xtb_energy_and_forces(atoms)
    raise ValueError(what)


def one_figure(name: str, what: str, model: str | None, repeats: int) -> dict[str, Any]:
    """Figures of one structure, in this process."""
    checkpoint, atoms = model_of(model), structure(name)
    loaded = peak_memory()
    with torch.no_grad():
        work = work_of(what, checkpoint, atoms)
        if what in ("H0", "all levels"):
            repeats = 1
        elif len(atoms) > 150:
            repeats = min(repeats, 2)
        times = cpu_times(work, repeats, budget=60.0, warm=len(atoms) <= 150 and what != "H0")
        answer = work() if what in ("levels", "all levels") else None
    functions = checkpoint.basis.size(atoms.numbers)
    return {"atoms": len(atoms), "functions": functions, "ms": best(times), "peak": peak_memory(),
            "loaded": loaded, "answer": answer}  # fmt: skip


# -- all of them ------------------------------------------------------------------------------------------

KINDS = ("E+F", "E+F again", "H", "levels", "H0", "E0")


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Figures of every structure: name → kind → record."""
    found: dict[str, dict[str, Any]] = {}
    for name in options.molecules:
        found[name] = {}
        for what in options.what:
            if what == "H0" and len(structure(name)) > options.h0_up_to:
                continue
            for kind in ("levels", "all levels") if what == "levels" else (what,):
                found[name][kind] = figure = _in_a_process(name, kind, options)
                print(
                    f"{name} {kind}: {figure['ms']:.0f} ms, {figure['peak']:.0f} MB",
                    file=sys.stderr,
                    flush=True,
                )
    return found


def _in_a_process(name: str, what: str, options: argparse.Namespace) -> dict[str, Any]:
    with get_context("fork").Pool(1) as pool:  # a child that has all libraries loaded, with a peak of its own
        record: dict[str, Any] = pool.apply(one_figure, (name, what, options.model, options.repeats))
    return record


def show(found: dict[str, dict[str, Any]]) -> str:
    """Tables of times and of memory, and the exponents."""
    kinds = list(dict.fromkeys(kind for records in found.values() for kind in records))
    times, peaks = [], []
    for name, records in found.items():
        some = next(iter(records.values()))
        size = [name, some["atoms"], some["functions"]]
        times.append([*size, *(_cell(records, kind, "ms") for kind in kinds)])
        peaks.append([*size, *(_cell(records, kind, "peak") for kind in kinds)])
    lines = ["", "### CPU ms", "", table(["", "atoms", "functions", *kinds], times)]
    lines += ["", "### Peak memory, MB", "", table(["", "atoms", "functions", *kinds], peaks), ""]
    alkanes = [records for name, records in found.items() if name[0] == "C"]
    for kind in kinds:
        records = [r[kind] for r in alkanes if kind in r and r[kind]["atoms"] >= 20]
        if len(records) > 2:
            lines.append(f"{kind}: time ~ atoms^{exponent(records):.2f} (alkanes of 20 atoms and more)")
    return "\n".join([*lines, *_differences(found)])


def _cell(records: dict[str, Any], kind: str, what: str) -> str:
    return f"{records[kind][what]:.0f}" if kind in records else ""


def _differences(found: dict[str, dict[str, Any]]) -> list[str]:
    """How far levels by Lanczos iterations are from those of a full diagonalisation, where there are any."""
    large = [r for r in found.values() if "levels" in r and r["levels"]["functions"] >= LARGE]
    pairs = [(r["levels"]["answer"], r["all levels"]["answer"]) for r in large]
    if not pairs:
        return []
    return [f"largest difference of HOMO and LUMO: {np.abs(np.diff(pairs, axis=1)).max():.1e} Eh"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="name or path of a checkpoint (default: the shipped one)")
    parser.add_argument("--molecules", nargs="*", default=MOLECULES)
    parser.add_argument("--what", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--h0-up-to", type=int, default=62, metavar="ATOMS")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = model_of(options.model)
    print(header("Sizes, one thread", model=checkpoint.name, **machine()), flush=True)
    found = measure(options)
    print(show(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
