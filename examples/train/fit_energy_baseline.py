"""Fit the parameters of GFN2-xTB, the energy baseline, to labels, so that a network has less to learn.

    python fit_energy_baseline.py LABELS.h5 [LABELS.h5 …] -o parameters.json [--molecules 500] [--steps 4]
                                  [--largest 13] [--ridge 0.03] [--processes 1] [--start parameters.json]

Training labels are drawn at random; molecules of the split ``val`` judge.  Printed after every step: mean
errors of E0 itself, with energies of elements and states fitted to the molecules that judge.  The file is
written after every step that helps and goes into a recipe:

    data:
      energy_baseline: {name: gfn2-xtb}
      energy_parameters: parameters.json

One step with 500 molecules of up to 13 atoms takes four minutes on one core.  What came of it for
``helm-organic-1`` is ``gfn2_for_b3lyp_def2svp.json``.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from helm_ase.labels.formats import open_labels
from helm_ase.qc.tight_binding import with_parameters
from helm_ase.qc.tight_binding_fit import FitSettings, TightBindingFit, errors_of, respond
from helm_ase.representation import LabelledMolecule
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.system.atomic_write import whole_file


def drawn(
    files: Sequence[str], split: str, largest: int, count: int | None, seed: int = 0
) -> list[LabelledMolecule]:
    """Labels of a split with energies and forces, of molecules of 2 to ``largest`` atoms, in random order."""
    chosen = []
    for file in files:
        with open_labels(file) as source:
            chosen += [
                label for label in source
                if label.split == split and 2 <= len(label.numbers) <= largest
                and label.energy is not None and label.forces is not None
            ]  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(chosen))
    return [chosen[k] for k in order[:count]]


@contextmanager
def shared(processes: int) -> Iterator[Callable[..., Any]]:
    """``map``, by one process or several."""
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=4)


def show(title: str, parameters: dict[str, Any], labels: Sequence[LabelledMolecule], parallel: Any) -> None:
    """One line of errors, of all molecules and by charge."""
    cells = []
    kinds = {"all": labels} | {
        name: [x for x in labels if np.sign(x.charge) == sign and (x.multiplicity > 1) is radical]
        for name, sign, radical in (
            ("neutral", 0, False), ("radicals", 0, True), ("cations", 1, False), ("anions", -1, False),
        )
    }  # fmt: skip
    for name, part in kinds.items():
        if part:
            e = errors_of(list(parallel(respond, [parameters] * len(part), part)), part)
            missing = f", {e.missing} do not converge" if e.missing else ""
            cells.append(f"{name} ({len(part)}) {1e3 * e.energy:.1f}, {1e3 * e.forces:.0f}{missing}")
    print(f"{title:22} {'; '.join(cells)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", nargs="+")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--molecules", type=int, default=500)
    parser.add_argument("--largest", type=int, default=13, help="atoms of the largest molecule fitted to")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--ridge", type=float, default=FitSettings().ridge)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--start", help="file of an earlier fit to start from; its values are then pulled to")
    options = parser.parse_args()
    train = drawn(options.labels, "train", options.largest, options.molecules)
    judges = drawn(options.labels, "val", 99, None)
    elements = sorted({int(z) for x in train + judges for z in x.numbers})
    baseline = with_parameters(EnergyBaseline("gfn2-xtb"), elements)
    parameters = json.loads(Path(options.start).read_text()) if options.start else baseline.parameters
    with shared(options.processes) as parallel:
        fit = TightBindingFit(parameters, train, FitSettings(ridge=options.ridge), parallel)
        print(f"{len(train)} labels, {len(fit.which)} parameters; meV/atom, meV/Å (mean absolute component)")
        show("start, validation", fit.parameters, judges, parallel)
        for k in range(options.steps):
            if not fit.step():
                print("no part of the next step helps")
                break
            with whole_file(options.output) as part:
                part.write_text(json.dumps(fit.parameters, indent=1))
            show(f"step {k + 1}, training", fit.parameters, train, parallel)
            show(f"step {k + 1}, validation", fit.parameters, judges, parallel)


if __name__ == "__main__":
    main()
