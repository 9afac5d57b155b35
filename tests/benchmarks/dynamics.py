"""Ten picoseconds of twelve molecules that no model is trained on: does anything break, drift, or stop?

    python tests/benchmarks/dynamics.py -o FOLDER [--model NAME_OR_PATH] [--steps 20000] [--only NAME …]
                                        [--json OUT] [--markdown OUT]

Every molecule is relaxed and moved at constant energy, 300 K on average, 0.5 fs a step, by ``helm-ase run``,
which looks at the verdict after every step and ends the run if a bond breaks or the error bar goes out of
bounds.  Printed of each: whether it went to its end, the drift of the total energy (slope of a straight
line) and its scatter about that line, whether the bonds of the last frame are those of the first, the largest
error bar on the way, and the verdict at the end.  FOLDER keeps the trajectories: molecules that are finished
are not run again, and one that was interrupted goes on from its last frame.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import glob  # noqa: E402
import json  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.io import read, write  # noqa: E402
from methods import publish  # noqa: E402

from helm_ase import HELMCalculator  # noqa: E402
from helm_ase.cli import main as helm_ase  # noqa: E402
from helm_ase.prediction.domain import ExtrapolationWarning  # noqa: E402
from helm_ase.representation.connectivity import molecule_hash  # noqa: E402
from helm_ase.sampling.conformers import embed  # noqa: E402
from helm_ase.sampling.molecules import Molecule, from_smiles  # noqa: E402

MOLECULES = {
    "alanine": "C[C@H](N)C(=O)O",
    "cytosine": "Nc1cc[nH]c(=O)n1",
    "adenine": "Nc1ncnc2[nH]cnc12",
    "coumarin": "O=c1ccc2ccccc2o1",
    "adamantane": "C1C2CC3CC1CC(C2)C3",
    "cysteine": "N[C@@H](CS)C(=O)O",
    "glyphosate": "O=C(O)CNCP(=O)(O)O",
    "2,4-D": "O=C(O)COc1ccc(Cl)cc1Cl",
    "di-tert-butyl peroxide": "CC(C)(C)OOC(C)(C)C",
    "benzoate": "O=C([O-])c1ccccc1",
    "alaninium": "C[C@H]([NH3+])C(=O)O",
    "TEMPO": "CC1(C)CCCC(C)(C)N1[O]",
}
"""All but the peroxide are of ``well_known.smi``; none of them is in a training set."""
TIMESTEP = 0.5
"""fs."""
EVERY = 10
"""Steps between the frames that ``helm-ase run`` keeps."""


def run(name: str, folder: Path, model: str | None, steps: int) -> dict[str, Any]:
    """Relax and move one molecule, or go on where an interrupted run stopped, and say how it went."""
    stem = folder / name.replace(" ", "_").replace(",", "")
    done = stem.with_suffix(".json")
    if done.exists():
        kept: dict[str, Any] = json.loads(done.read_text())
        return kept
    molecule, code = from_smiles(MOLECULES[name]), 0
    made = len(moving_frames(parts_of(stem)))
    if made == 0 or (steps := steps - EVERY * (made - 1)) > 0:
        code = move(molecule, stem, model, steps, begin=made == 0)
    if code > 128:  # a signal: what was asked for is an end of this script, and no result
        raise SystemExit(code)
    frames = moving_frames(parts_of(stem))
    if not frames:
        raise SystemExit(f"{name}: helm-ase run ended with {code} before the dynamics began")
    known = {"charge": molecule.charge, "multiplicity": molecule.multiplicity}
    result = {"name": name, "exit_code": code} | examined(frames, known, model)
    done.write_text(json.dumps(result))
    return result


def move(molecule: Molecule, stem: Path, model: str | None, steps: int, begin: bool) -> int:
    """Write one more trajectory of a molecule, from its last frame or, at the beginning, after a relaxation;
    exit code of ``helm-ase run``."""
    parts = parts_of(stem)
    if begin:
        for path in parts:  # of a relaxation that was interrupted
            path.unlink()
        source, number, how = stem.with_suffix(".xyz"), 0, ["--opt"]
        write(source, Atoms(molecule.numbers, embed(molecule.smiles, seed=1)))
    else:
        source, number, how = parts[-1], len(parts), ["--keep-velocities"]
    files = [str(source), "--trajectory", str(stem.with_suffix(f".{number}.traj"))]
    state = ["--charge", str(molecule.charge), "--multiplicity", str(molecule.multiplicity)]
    dynamics = ["--md", str(steps), "--nve", "--timestep", str(TIMESTEP), "--seed", "1"]
    chosen = [] if model is None else ["--model", model]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        return helm_ase(["run", *files, *how, *dynamics, *state, *chosen, "--no-orbitals"])


def parts_of(stem: Path) -> list[Path]:
    """Trajectories of a molecule in the order in which they were made."""
    return sorted(stem.parent.glob(f"{glob.escape(stem.name)}.*.traj"), key=lambda p: int(p.suffixes[-2][1:]))


def moving_frames(parts: Sequence[Path]) -> list[Atoms]:
    """Frames of the dynamics, without those of a relaxation, which are at rest, and without the first of each
    later part, which is the last of the part before."""
    every: list[list[Atoms]] = [[f for f in read(path, ":") if f.get_momenta().any()] for path in parts]
    return [frame for k, part in enumerate(every) for frame in part[1 if k else 0 :]]


def examined(moving: Sequence[Atoms], state: dict[str, int], model: str | None) -> dict[str, Any]:
    """What the dynamics say: length (ps), drift and scatter (meV/atom), bonds, error bars.

    Parameters
    ----------
    moving
        Frames of the dynamics.
    state
        Charge and multiplicity.
    model
        Checkpoint.
    """
    energies = np.array([f.get_total_energy() for f in moving]) * 1e3 / len(moving[0])
    times = np.arange(len(moving)) * EVERY * TIMESTEP * 1e-3
    slope, start = np.polyfit(times, energies, 1)
    calc = HELMCalculator(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        some = moving[:: max(1, len(moving) // 200)]
        verdicts = [calc.get_verdict(Atoms(f.numbers, f.positions, info=state)) for f in some]
    bars = [1e3 * v.error_bar for v in verdicts if v.error_bar is not None]
    graphs = [molecule_hash(f.numbers, f.positions) for f in (moving[0], moving[-1])]
    return {
        "atoms": len(moving[0]),
        "picoseconds": float(times[-1]),
        "drift": float(slope),
        "scatter": float(np.std(energies - slope * times - start)),
        "same_bonds": graphs[0] == graphs[1],
        "largest_bar": max(bars) if bars else None,
        "verdict": str(verdicts[-1].trust),
    }


def report_of(results: Sequence[dict[str, Any]]) -> str:
    """One line a molecule."""
    head = [
        "molecule", "atoms", "ps", "exit", "drift meV/atom/ps", "scatter meV/atom", "bonds",
        "largest error bar meV/atom", "verdict",
    ]  # fmt: skip
    rows = [
        [
            r["name"], r["atoms"], f"{r['picoseconds']:.2f}", r["exit_code"], f"{r['drift']:+.3f}",
            f"{r['scatter']:.2f}", "same" if r["same_bonds"] else "others",
            "" if r["largest_bar"] is None else f"{r['largest_bar']:.1f}", r["verdict"],
        ]
        for r in results
    ]  # fmt: skip
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", required=True, help="folder of the trajectories")
    parser.add_argument("--model", help="name or path of a checkpoint (default: the shipped one)")
    parser.add_argument("--steps", type=int, default=20_000, help=f"of {TIMESTEP} fs")
    parser.add_argument("--only", nargs="+", choices=list(MOLECULES), default=list(MOLECULES))
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    options = parser.parse_args()
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    results = [run(name, folder, options.model, options.steps) for name in options.only]
    checkpoint = HELMCalculator(options.model).checkpoint
    facts = machine() | {"model": checkpoint.name, "sha256": checkpoint.sha256[:16]}
    report = header("Dynamics of twelve molecules at constant energy", **facts) + "\n\n" + report_of(results)
    publish(report, results, options)


if __name__ == "__main__":
    main()
