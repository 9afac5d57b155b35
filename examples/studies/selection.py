"""What choosing structures saves against drawing them: the last layer of a model taught with few labels.

    python selection.py POOL.h5 [--model NAME] [--split train] [--validation val] [--sizes 5 10 20 40]
                        [--draws 50] [--json OUT]

The network stays as it is.  Its errors of energy per atom, e, are taken as a linear function of its
last-layer features f (mean over N atoms, whitened over the training set: φ = W f), as its error bar assumes:

    e = √N φ·w + noise,   w ~ normal(0, a²),   noise ~ normal(0, b²),

a and b those of the error bar.  With n labels from the pool the most probable w is a ridge regression, and
the error of the validation molecules after subtracting √N φ·w says what these labels were worth.  They are
drawn at random, taken by uncertainty alone, or by the criterion of ``helm-ase select``.  Training the whole
network would gain more from every label; this compares ways to choose in seconds and without training noise.
The pool and the validation molecules must be unknown to the model: labels that it has not learnt from.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from helm_ase.checkpoint import load_model
from helm_ase.evaluation.calibration import bars, collect
from helm_ase.evaluation.selection import known_labels
from helm_ase.labelling.selection import Candidates, choose
from helm_ase.labels.formats import open_labels


def correction(design, errors, prior, noise):
    """Most probable w, (F,), given errors, (n,), of a design √N φ, (n, F)."""
    precision = design.T @ design / noise**2 + np.eye(design.shape[1]) / prior**2
    return np.linalg.solve(precision, design.T @ errors / noise**2)


def error_after(chosen, pool, validation, prior, noise):
    """Mean |error| of the validation molecules once the chosen ones of the pool are known, eV/atom."""
    w = correction(pool[0][chosen], pool[1][chosen], prior, noise)
    return float(np.abs(validation[1] - validation[0] @ w).mean())


def design_of(found, whitening):
    """√N φ, (M, F), and errors, (M,)."""
    return np.sqrt(found.atoms)[:, None] * (found.features @ whitening.T), found.errors


def compare(pool, validation, candidates, sizes, draws, prior, noise):
    """One row for each number of labels: errors in meV/atom by each way to choose."""
    rows, rng = [], np.random.default_rng(0)
    selected = [c.index for c in choose(candidates, max(sizes))]
    uncertain = [c.index for c in choose(candidates, max(sizes), diverse=False)]
    for n in sizes:
        drawn = [
            error_after(rng.permutation(len(pool[1]))[:n], pool, validation, prior, noise)
            for _ in range(draws)
        ]
        rows.append(
            {
                "labels": n,
                "random": 1e3 * float(np.mean(drawn)),
                "deviation": 1e3 * float(np.std(drawn)),
                "uncertain": 1e3 * error_after(uncertain[:n], pool, validation, prior, noise),
                "select": 1e3 * error_after(selected[:n], pool, validation, prior, noise),
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", nargs="+", help="with pool and validation, unknown to the model")
    parser.add_argument("--model", help="name or path of a checkpoint with an error bar")
    parser.add_argument("--split", default="train", help="the pool")
    parser.add_argument("--validation", default="val")
    parser.add_argument("--sizes", nargs="+", type=int, default=[5, 10, 20, 40])
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--json")
    options = parser.parse_args()
    checkpoint = load_model(options.model)
    bar = checkpoint.uncertainty
    if bar is None:
        raise SystemExit(f"{checkpoint.name} has no error bar: helm-ase calibrate makes one")
    sources = [open_labels(path) for path in options.labels]
    found = {
        split: collect(checkpoint, known_labels(checkpoint, sources, split))
        for split in (options.split, options.validation)
    }
    pool, held_out = found[options.split], found[options.validation]
    whitening = bar.whitening.numpy()
    candidates = Candidates(bars(bar, pool), pool.features @ whitening.T, list(pool.atoms))
    designs = design_of(pool, whitening), design_of(held_out, whitening)
    sizes = [n for n in options.sizes if n <= len(pool.errors)]
    rows = compare(*designs, candidates, sizes, options.draws, bar.scale, bar.floor)
    before = 1e3 * float(np.abs(held_out.errors).mean())
    whole = 1e3 * error_after(np.arange(len(pool.errors)), *designs, bar.scale, bar.floor)
    print(f"{checkpoint.name}: pool of {len(pool.errors)}, {len(held_out.errors)} validation molecules")
    print(f"mean error {before:.2f} meV/atom with no label, {whole:.2f} with all\n")
    print("| labels | random | uncertain | select |\n|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['labels']} | {r['random']:.2f} ± {r['deviation']:.2f} | {r['uncertain']:.2f} "
            f"| {r['select']:.2f} |"
        )
    if options.json:
        Path(options.json).write_text(json.dumps({"before": before, "all": whole, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
