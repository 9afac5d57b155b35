"""Harmonic frequencies beside those of the model's own level of theory and of GFN2-xTB.

    python tests/benchmarks/frequencies.py [--model NAME_OR_PATH] [--molecules H2CO CH3COCH3 ...] [--json OUT]

Each method first relaxes the molecule with its own forces.  The Hessian of the density functional is PySCF's
analytic one, that of GFN2-xTB is made of central differences of its gradient.  Frequencies are compared in
ascending order, in cm⁻¹.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import molecule  # noqa: E402
from ase.calculators.calculator import Calculator, all_changes  # noqa: E402
from ase.optimize import BFGS  # noqa: E402
from ase.units import Bohr, Hartree  # noqa: E402
from ase.vibrations import VibrationsData  # noqa: E402
from scf import xtb_energy_and_forces  # noqa: E402

from helm_ase import HELMCalculator  # noqa: E402
from helm_ase.qc.level import LevelOfTheory, kohn_sham  # noqa: E402
from helm_ase.qc.molecule import build_mole  # noqa: E402

FORCE, STEP = 0.005, 0.005
"""eV/Å at which a molecule counts as relaxed, and Å of the central differences."""


class Xtb(Calculator):
    """GFN2-xTB."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        """Energy and forces."""
        super().calculate(atoms, properties, system_changes)
        energy, gradient = xtb_energy_and_forces(self.atoms)
        self.results = {"energy": energy * Hartree, "forces": -gradient * Hartree / Bohr}

    def get_hessian(self, atoms: Atoms) -> np.ndarray:
        """Central differences of forces, eV/Å², (3N, 3N)."""
        rows = []
        for coordinate in range(3 * len(atoms)):
            sides = []
            for shift in (STEP, -STEP):
                twin = atoms.copy()
                twin.positions.flat[coordinate] += shift
                sides.append(self.get_forces(twin).ravel())
            rows.append((sides[1] - sides[0]) / (2 * STEP))
        return 0.5 * (np.array(rows) + np.array(rows).T)


class Functional(Calculator):
    """PySCF at a level of theory."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, level: LevelOfTheory) -> None:
        self.level, self.density = level, None
        super().__init__()

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        """Energy and forces, from the density of the geometry before."""
        super().calculate(atoms, properties, system_changes)
        mole = build_mole(self.atoms.numbers, self.atoms.positions, self.level.basis)
        self.field = kohn_sham(mole, self.level)
        energy = self.field.kernel(dm0=self.density)
        if not self.field.converged:
            raise RuntimeError(f"the SCF of {self.atoms.symbols.formula} did not converge")
        self.density = self.field.make_rdm1()
        gradient = self.field.nuc_grad_method()
        gradient.verbose = 0
        self.results = {"energy": energy * Hartree, "forces": -gradient.kernel() * Hartree / Bohr}

    def get_hessian(self, atoms: Atoms) -> np.ndarray:
        """Analytic second derivatives, eV/Å², (3N, 3N)."""
        self.get_forces(atoms)
        hessian = self.field.Hessian().kernel()  # (N, N, 3, 3)
        size = 3 * len(atoms)
        return hessian.transpose(0, 2, 1, 3).reshape(size, size) * Hartree / Bohr**2


def frequencies(start: Atoms, calculator: Any) -> tuple[np.ndarray, Atoms, float]:
    """Frequencies at the minimum without the six lowest, cm⁻¹; the minimum; CPU seconds of the Hessian."""
    atoms = start.copy()
    atoms.calc = calculator
    if not BFGS(atoms, logfile=None).run(fmax=FORCE, steps=200):
        raise RuntimeError(f"{atoms.symbols.formula} was not relaxed in 200 steps")
    begin = time.process_time()
    hessian = calculator.get_hessian(atoms)
    spent = time.process_time() - begin
    found = VibrationsData.from_2d(atoms.copy(), hessian).get_frequencies()
    signed = np.sort(np.where(found.imag > 0, -found.imag, found.real))  # imaginary ones as negative
    return np.delete(signed, np.argsort(abs(signed))[:6]), atoms.copy(), spent


def measure(name: str, model: HELMCalculator) -> dict[str, Any]:
    """Frequencies of one molecule by the three methods."""
    record: dict[str, Any] = {"molecule": name}
    start = molecule(name)
    for what, calculator in (
        ("model", model), ("GFN2-xTB", Xtb()), ("PySCF", Functional(model.checkpoint.level))
    ):  # fmt: skip
        values, relaxed, seconds = frequencies(start, calculator)
        record[what], record[f"{what}, s"] = values.tolist(), seconds
        start = relaxed if what == "model" else start
        print(name, what, "done", file=sys.stderr, flush=True)
    return record


def show(record: dict[str, Any]) -> str:
    """Table of one molecule, with mean deviations from PySCF."""
    exact = np.array(record["PySCF"])
    ours, theirs = (np.array(record[key]) for key in ("model", "GFN2-xTB"))
    rows = [
        [f"{e:.0f}", f"{a:.0f} ({a - e:+.0f})", f"{b:.0f} ({b - e:+.0f})"]
        for e, a, b in zip(exact, ours, theirs, strict=True)
    ]
    means = [f"{abs(x - exact).mean():.1f} ({abs(x / exact - 1).mean():.1%})" for x in (ours, theirs)]
    times = [f"{record[f'{key}, s']:.1f}" for key in ("PySCF", "model", "GFN2-xTB")]
    rows += [["mean deviation", *means], [f"Hessian: {times[0]} CPU s", *times[1:]]]
    return f"\n### {record['molecule']}\n\n" + table(["PySCF", "model", "GFN2-xTB"], rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--molecules", nargs="*", default=["H2CO", "CH3COCH3"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model = HELMCalculator(model=options.model, device="cpu", dtype="float64")
    print(header("Frequencies, cm⁻¹", model=model.checkpoint.name, **machine()), flush=True)
    results = []
    for name in options.molecules:
        results.append(measure(name, model))
        print(show(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"molecules": results}))


if __name__ == "__main__":
    main()
