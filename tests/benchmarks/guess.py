"""Fock builds that a predicted density saves or costs, and what its guard makes of it.

    python tests/benchmarks/guess.py [NAME_OR_FILE …] [--model NAME_OR_PATH] [--minutes 6] [--json OUT]
                                     [--markdown OUT]

A name is one of ``molecules.py`` or of ASE's G2 set; a file may hold many frames.  Without any, a list of
ordinary, difficult and broken molecules is taken, small ones first, until the minutes are spent.  For each:
the SCF at the model's level from PySCF's ``minao`` and from the predicted density, both counted in Fock
matrices (coulomb, exchange and grid, the first one included); the norm of the commutator FDS − SDF of the
first of them, over the root of the number of functions; what the guard looks at, which costs no Fock matrix;
and its verdict.  A guess harms where it needs more Fock matrices than ``minao``, does not converge, or ends
higher.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import molecule  # noqa: E402
from ase.collections import g2  # noqa: E402
from ase.io import read  # noqa: E402
from molecules import molecule as own_molecule  # noqa: E402

from helm_ase import HELMCalculator  # noqa: E402
from helm_ase.prediction.domain import ExtrapolationWarning  # noqa: E402
from helm_ase.prediction.guess import MAX_BAR, MAX_CHARGE, MIN_GAP, doubts_of  # noqa: E402
from helm_ase.qc.level import kohn_sham  # noqa: E402
from helm_ase.qc.molecule import build_mole  # noqa: E402

ORDINARY = (
    "H2O", "CH4", "NH3", "HF", "HCN", "CO", "N2", "CO2", "H2CO", "CH3OH", "C2H2", "C2H4", "C2H6", "HCOOH",
    "CH3CHO", "CH3CN", "H3CNH2", "C3H4_C3v", "CH3COOH", "CH3CONH2", "C6H6", "C5H5N", "C4H4O", "ethanol",
)  # fmt: skip
DIFFICULT = ("O3", "F2", "N2O", "C2F4", "CF4", "F2O", "CH3NO2")
STRETCHED = {"F2": (1.8, 2.3), "N2": (1.6, 2.2), "HF": (1.6, 2.4), "CO": (1.7,)}
"""Bond lengths, Å."""


def usual_molecules() -> dict[str, Atoms]:
    """Names and geometries, small ones first."""
    found = {name: by_name(name) for name in dict.fromkeys((*ORDINARY, *DIFFICULT))}
    for name, lengths in STRETCHED.items():
        for length in lengths:
            atoms = molecule(name)
            atoms.set_distance(0, 1, length)
            found[f"{name} at {length} Å"] = atoms
    return dict(sorted(found.items(), key=lambda item: int((item[1].numbers > 1).sum())))


def by_name(name: str) -> Atoms:
    return molecule(name) if name in g2.names else own_molecule(name)


def chosen_molecules(names: list[str]) -> dict[str, Atoms]:
    found: dict[str, Atoms] = {}
    for name in names:
        if not Path(name).is_file():
            found[name] = by_name(name)
            continue
        found |= {f"{Path(name).stem}-{k}": atoms for k, atoms in enumerate(read(name, ":"))}
    return found


class CountedSCF:
    """An SCF that counts its Fock matrices and keeps the commutator of the first."""

    def __init__(self, mole: Any, level: Any) -> None:
        self.builds, self.commutator = 0, float("nan")
        self.mean_field = kohn_sham(mole, level)
        self._build = self.mean_field.get_veff
        self.mean_field.get_veff = self._counted

    def _counted(self, mol: Any = None, dm: Any = None, *others: Any, **more: Any) -> Any:
        potential = self._build(mol, dm, *others, **more)
        if not self.builds:
            mf, density = self.mean_field, np.asarray(dm)
            fock, s = mf.get_hcore() + np.asarray(potential), mf.get_ovlp()
            product = fock @ density @ s
            self.commutator = float(np.linalg.norm(product - np.swapaxes(product, -1, -2)) / len(s) ** 0.5)
        self.builds += 1
        return potential

    def run(self, density: Any) -> "CountedSCF":
        self.mean_field.max_cycle = 100
        self.mean_field.kernel(dm0=density)
        return self


def measure(name: str, atoms: Atoms, calc: HELMCalculator) -> dict[str, Any]:
    """One row; the SCF from the guarded guess is one of the two others."""
    guess = calc.initial_guess(atoms=atoms, guard=False)
    found = calc.get_electronic_structure(atoms)
    bar = calc.get_uncertainty(atoms) if calc.checkpoint.uncertainty else None
    seen = doubts_of(found, bar)
    level = calc.checkpoint.level
    mole = build_mole(atoms.numbers, atoms.positions, level.basis)
    theirs = CountedSCF(mole, level).run(None)
    ours = CountedSCF(mole, level).run(guess)
    kept = not seen.reason
    return {
        "name": name, "atoms": len(atoms), "heavy": int((atoms.numbers > 1).sum()),
        "gap": found.gap, "bar": None if bar is None else bar.per_atom / bar.threshold,
        "charge": seen.charge, "reason": seen.reason, "kept": kept,
        "commutator_minao": theirs.commutator, "commutator": ours.commutator,
        "builds_minao": theirs.builds, "builds": ours.builds,
        "builds_guarded": ours.builds if kept else theirs.builds,
        "converged": [bool(theirs.mean_field.converged), bool(ours.mean_field.converged)],
        "difference": float(ours.mean_field.e_tot - theirs.mean_field.e_tot),
    }  # fmt: skip


def harms(row: dict[str, Any]) -> bool:
    """Whether the unguarded guess is worse than none."""
    theirs, ours = row["converged"]
    return row["builds"] > row["builds_minao"] or (theirs and not ours) or row["difference"] > 1e-6


def report(rows: list[dict[str, Any]]) -> str:
    """Table of all molecules, and the sum."""
    lines = [
        (
            r["name"], r["atoms"], f"{r['gap']:.3f}", "" if r["bar"] is None else f"{r['bar']:.2f}",
            f"{r['charge']:.2f}", f"{r['commutator_minao']:.4f}", f"{r['commutator']:.4f}",
            r["builds_minao"], r["builds"], f"{1e3 * r['difference']:.3f}",
            "kept" if r["kept"] else r["reason"], "harms" if harms(r) else "",
        )
        for r in rows
    ]  # fmt: skip
    head = (
        "molecule", "atoms", "gap / Eh", "bar / threshold", "charge / e", "commutator, minao", "guess",
        "builds, minao", "guess", "ΔE / mEh", "guard", "unguarded",
    )  # fmt: skip
    sums = {k: sum(r[k] for r in rows) for k in ("builds_minao", "builds", "builds_guarded")}
    worse = sum(r["builds_guarded"] > r["builds_minao"] for r in rows)
    said = (
        f"{len(rows)} molecules: {sums['builds_minao']} Fock matrices from minao, {sums['builds']} from the "
        f"prediction, {sums['builds_guarded']} guarded; the unguarded guess harms {sum(map(harms, rows))}, "
        f"the guarded one takes more Fock matrices than minao for {worse}; refused though harmless: "
        f"{sum(not r['kept'] and not harms(r) for r in rows)}"
    )
    return f"{table(head, lines)}\n\n{said}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("molecules", nargs="*")
    parser.add_argument("--model")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    options = parser.parse_args()
    calc, rows, begin = HELMCalculator(options.model), [], time.monotonic()
    chosen = chosen_molecules(options.molecules) if options.molecules else usual_molecules()
    for name, atoms in chosen.items():
        if time.monotonic() - begin > 60 * options.minutes:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExtrapolationWarning)
            rows.append(measure(name, atoms, calc))
        if options.json:
            Path(options.json).write_text(json.dumps({"molecules": rows}, indent=1))
    facts = machine() | {
        "model": calc.checkpoint.name,
        "limits": f"gap {MIN_GAP} Eh, bar {MAX_BAR} × threshold, charge {MAX_CHARGE} e",
    }
    text = header("Fock builds from the guess", **facts) + "\n\n" + report(rows)
    print(text)
    if options.markdown:
        Path(options.markdown).write_text(text + "\n")


if __name__ == "__main__":
    main()
