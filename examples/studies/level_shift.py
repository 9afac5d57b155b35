"""Where the term const·S in H0 of crystals comes from: electrostatics, or exchange and correlation.

    python level_shift.py LABELS.h5 [--kind graphene] [--frames 8]

Labelled frames (``../crystals/carbon_labels.py``) are converged again and their Fock matrices taken apart:
T + pseudopotential + J, and the rest, which is exchange and correlation.  H0 without a network is fitted to
the whole and to the first part alone.  Of each fit: the constant (Eh) that multiplies S, and the mean
absolute error of matrix elements on the frames that were fitted (µEh).
"""

import argparse
from dataclasses import replace

import numpy as np

from helm_ase.dataset.crystals import fit_crystal_operators, make_crystal_sample
from helm_ase.labels.crystals import CrystalSource
from helm_ase.qc.crystal import crystal_basis
from helm_ase.qc.crystal_scf import CrystalSCF, kept_points


def without_xc(label, level):
    """The label with T + pseudopotential + J, counted from the label's own zero, in place of F."""
    mf = CrystalSCF(label.numbers, label.positions, label.lattice, level, label.mesh).converge()
    whole = np.asarray(mf.last_potential)
    mf.xc = "0*LDA"
    exchange = whole - np.asarray(type(mf).get_veff(mf))
    kept = kept_points(label.mesh)
    return replace(label, fock=label.fock - np.asarray(mf.kpts.transform_fock(exchange))[kept])


def fitted(name, labels, level):
    """Print what a fit to the labels gives."""
    operators = fit_crystal_operators(labels, level, limit=len(labels))
    basis = crystal_basis(level, sorted({z for x in labels for z in x.numbers.tolist()}))
    samples = [make_crystal_sample(x, level, basis, operators, 9.0) for x in labels]
    error = np.mean([float(s.correction[s.within].abs().mean()) for s in samples])
    shifts = ", ".join(f"{operator.level_shift:.3f}" for operator in operators)
    print(f"| {name} | {shifts} | {1e6 * error:.0f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="LABELS.h5")
    parser.add_argument("--kind", default="graphene", help="first word of the frames' names (graphene)")
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="the first of them (8)")
    options = parser.parse_args()
    source = CrystalSource(options.labels)
    chosen = [x for x in source if x.name.split()[0] == options.kind][: options.frames]
    print(f"{len(chosen)} frames of {options.kind}\n")
    print("| fitted to | constant, Eh | error of H, µEh |\n| --- | --- | --- |")
    fitted("F", chosen, source.level)
    fitted("T + pseudopotential + J", [without_xc(x, source.level) for x in chosen], source.level)
