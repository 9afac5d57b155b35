"""Errors of total energies of small molecules, ions, radicals and atoms against their level, and error bars.

    python tests/benchmarks/small_molecules.py [--model NAME_OR_PATH] [--json OUT] [--markdown OUT]

Geometries are those of ASE's G2 set; the reference is a calculation by PySCF at the model's level of theory,
unrestricted for open shells.  meV/atom; nothing is fitted or shifted.  Molecules of one or two heavy atoms
always belong to the training split of a model, so that these are other geometries, not other molecules.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import warnings  # noqa: E402

from ase.build import molecule  # noqa: E402
from methods import Model, add_outputs, publish  # noqa: E402

from helm_ase.prediction.domain import ExtrapolationWarning  # noqa: E402
from helm_ase.qc.level import kohn_sham  # noqa: E402
from helm_ase.qc.molecule import build_mole  # noqa: E402
from helm_ase.units import HARTREE_IN_EV  # noqa: E402

CLOSED = [
    "H2", "HF", "N2", "F2", "HCN", "CO", "CO2", "HCl", "Cl2", "ClF", "H2O", "NH3", "CH4", "C2H2",
    "C2H4", "C2H6", "H2O2", "N2H4", "SiH4", "PH3", "SH2", "CH3OH", "C6H6", "O3",
]  # fmt: skip
OPEN = [
    ("CH3", 0, 2), ("OH", 0, 2), ("NH2", 0, 2), ("CN", 0, 2), ("NO", 0, 2), ("O2", 0, 3), ("H2O", 1, 2),
    ("NH3", 1, 2), ("H2CO", 1, 2), ("C2H4", 1, 2), ("OH", -1, 1), ("H", 0, 2), ("Cl", 0, 2), ("O", 0, 3),
]  # fmt: skip
"""Name, charge and multiplicity."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="name or path of a checkpoint (default: the shipped one)")
    add_outputs(parser)
    options = parser.parse_args()
    model, rows = Model(options.model), []
    calc, level = model.calc, model.calc.checkpoint.level
    warnings.simplefilter("ignore", ExtrapolationWarning)
    for name, charge, multiplicity in [*((name, 0, 1) for name in CLOSED), *OPEN]:
        atoms = molecule(name)
        atoms.info |= {"charge": charge, "multiplicity": multiplicity}
        predicted, verdict = calc.get_potential_energy(atoms), calc.get_verdict(atoms)
        mole = build_mole(atoms.numbers, atoms.positions, level.basis, charge, multiplicity)
        reference = kohn_sham(mole, level).kernel() * HARTREE_IN_EV
        error, bar = (
            1e3 * x for x in ((predicted - reference) / len(atoms), calc.get_uncertainty(atoms).per_atom)
        )
        rows.append([name, charge, multiplicity, round(error, 1), round(bar, 1), str(verdict.trust)])
    headings = ["molecule", "charge", "multiplicity", "error meV/atom", "error bar", "verdict"]
    report = header("Small molecules", **machine(), model=model.name, model_sha256=model.identity[:16])
    publish(report + "\n\n" + table(headings, rows), {"rows": rows}, options)


if __name__ == "__main__":
    main()
