"""What the error bar of a model is worth: rank correlation with the true error, and what it flags.

    python tests/benchmarks/error_bar.py MODEL VALIDATION.h5 --outside OTHER.h5 [MORE.h5 ...]

VALIDATION.h5 holds unseen molecules of the kind that the model learnt from (split ``val``), the other files
molecules of other kinds (all splits).  Only molecules whose elements, charge and multiplicity the model knows
count.
"""

import argparse

import numpy as np

from helm_ase.checkpoint import load_model
from helm_ase.evaluation.calibration import EnergyErrors, bars, collect, judge
from helm_ase.evaluation.selection import known_labels
from helm_ase.labels.formats import open_labels


def joined(parts):
    return EnergyErrors(
        *(np.concatenate([getattr(p, k) for p in parts]) for k in ("features", "errors", "atoms", "states"))
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("validation")
    parser.add_argument("--outside", nargs="*", default=[])
    options = parser.parse_args()
    checkpoint = load_model(options.model)
    bar = checkpoint.uncertainty
    print(f"{checkpoint.name}: threshold {1e3 * bar.threshold:.2f} meV/atom; large > 10, small < 3 meV/atom")
    inside = collect(checkpoint, known_labels(checkpoint, [open_labels(options.validation)], "val"))
    sets = {"inside": inside}
    if options.outside:
        sources = [open_labels(path) for path in options.outside]
        splits = sorted({s.split_of(k) for s in sources for k in range(len(s))})
        outside = [collect(checkpoint, known_labels(checkpoint, sources, split)) for split in splits]
        sets["outside"] = joined([part for part in outside if len(part.errors)])
        sets["both"] = joined(list(sets.values()))
    for name, found in sets.items():
        facts = judge(bars(bar, found), found.errors, bar.threshold)
        print(f"  {name}: " + ", ".join(f"{k} {v}" for k, v in facts.items()))


if __name__ == "__main__":
    main()
