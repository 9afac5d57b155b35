"""What a prediction saves in a real SCF, what one step makes of it, and whether its error bar is honest.

    python tests/benchmarks/back_to_dft.py LABELS.h5 [LABELS.h5 …] --splits val test -o FOLDER
                                           [--model NAME_OR_PATH] [--limit N] [--report-only]

For every molecule of the splits, on one thread: the SCF from PySCF's ``minao`` guess, which is the reference
for energies, levels and matrices (for forces the label is); the SCF from the predicted density, with the time
of the prediction (baseline, network, orbitals) beside it; energy, gap and forces after one and two steps, and
energy and gap after two steps from ``minao``; and the error bar from the first step against the true errors.
FOLDER gets one line for each molecule, with which an interrupted run goes on, a table and a picture.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from helm_ase import HELMCalculator  # noqa: E402
from helm_ase.labels.formats import open_labels  # noqa: E402
from helm_ase.qc.level import kohn_sham  # noqa: E402
from helm_ase.qc.molecule import build_mole  # noqa: E402
from helm_ase.qc.scf_steps import SelfConsistency  # noqa: E402
from helm_ase.representation import LabelledMolecule, LevelOfTheory  # noqa: E402
from helm_ase.units import HARTREE_IN_EV  # noqa: E402

SIZES = {"1–4": (1, 4), "5": (5, 5), "6 and more": (6, 99)}
"""Classes of heavy atoms."""
SCRIPT = 3
"""Goes up with every change of what is measured."""


class Stopwatch:
    """Processor and wall time of a block."""

    def __enter__(self) -> "Stopwatch":
        self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.cpu = time.process_time() - self._start[0]
        self.wall = time.perf_counter() - self._start[1]


def run_scf(label: LabelledMolecule, calc: HELMCalculator, guess: Any) -> tuple[Any, Stopwatch]:
    """SCF with all that it takes, integrals and set-up included."""
    with Stopwatch() as watch:
        basis = calc.checkpoint.level.basis
        mole = build_mole(label.numbers, label.positions, basis, label.charge, label.multiplicity)
        mf = kohn_sham(mole, calc.checkpoint.level)
        mf.kernel(dm0=guess)
    return mf, watch


def measure(label: LabelledMolecule, calc: HELMCalculator) -> dict[str, Any]:
    calc.reset()  # nothing may be known of this geometry
    state = {"charge": label.charge, "multiplicity": label.multiplicity}
    atoms = Atoms(label.numbers, label.positions, info=state)
    reference, minao = run_scf(label, calc, None)
    with Stopwatch() as prediction:
        guess = calc.initial_guess(atoms=atoms)
    ours, scf = run_scf(label, calc, guess)
    structure = calc.get_electronic_structure(atoms)
    with Stopwatch() as step:
        calc.refine(1, atoms=atoms)
    with Stopwatch() as gradient:
        one = calc.refine(1, forces=True, atoms=atoms)
    with Stopwatch() as second:
        calc.refine(2, atoms=atoms)
    two = calc.refine(2, forces=True, atoms=atoms)
    bar = calc.get_reliability(atoms)
    levels, filled = reference.mo_energy, reference.mo_occ > 0
    gap = float(levels[~filled].min() - levels[filled].max()) * HARTREE_IN_EV
    error = structure.hamiltonian.numpy()[0] - reference.get_fock()
    exact = reference.e_tot * HARTREE_IN_EV
    return {
        "name": label.name, "smiles": label.smiles, "atoms": len(atoms),
        "heavy": int((label.numbers > 1).sum()),
        "converged": bool(reference.converged and ours.converged),
        "cycles_minao": int(reference.cycles), "cycles": int(ours.cycles),
        "difference": float(ours.e_tot - reference.e_tot),
        "cpu_minao": minao.cpu, "cpu_scf": scf.cpu, "cpu_prediction": prediction.cpu, "cpu_step": step.cpu,
        "cpu_second": second.cpu, "cpu_gradient": gradient.cpu,
        "wall_minao": minao.wall, "wall_scf": scf.wall, "wall_prediction": prediction.wall,
        "hamiltonian": float(np.abs(error).mean()) * 1e6, "gap": structure.gap * HARTREE_IN_EV - gap,
        "step_energy": one.energy - exact, "step_functional": one.functional_energy - exact,
        "step_gap": one.gap - gap, "step_forces": length_of_error(one.forces, label.forces),
        "second_energy": two.energy - exact, "second_functional": two.functional_energy - exact,
        "second_gap": two.gap - gap, "second_forces": length_of_error(two.forces, label.forces),
        **steps_from_minao(reference, calc.checkpoint.level, exact, gap),
        "head_energy": calc.get_property("energy", atoms) - exact,
        "head_forces": length_of_error(calc.get_property("forces", atoms), label.forces),
        **{k: v for k, v in vars(bar).items() if isinstance(v, float)},
    }  # fmt: skip


def steps_from_minao(reference: Any, level: LevelOfTheory, exact: float, gap: float) -> dict[str, float]:
    """Errors in eV of two steps like those of ``refine``, but from PySCF's guess."""
    problem = SelfConsistency(reference.mol, level, reference.mo_energy.ndim)
    start = np.reshape(reference.get_init_guess(key="minao"), (problem.spins, *problem.overlap.shape))
    found = problem.iterate(problem.build(start), 2)
    (levels, _, filled), _ = problem.diagonalise(found.fock)
    own = float(levels[filled == 0].min() - levels[filled > 0].max()) * HARTREE_IN_EV
    return {"minao_energy": found.harris_energy * HARTREE_IN_EV - exact, "minao_gap": own - gap}


def length_of_error(forces: np.ndarray, reference: np.ndarray | None) -> float:
    """Mean length over atoms, eV/Å; NaN without a reference."""
    if reference is None:
        return float("nan")
    return float(np.linalg.norm(forces - reference, axis=1).mean())


def report(rows: list[dict[str, Any]]) -> str:
    """Tables of what was measured."""
    good = usable(rows)
    columns = {k: np.array([r[k] for r in good]) for k in good[0] if not isinstance(good[0][k], str)}
    first = f"{len(rows)} molecules; {len(good)} end at one energy (1e-8 Eh) from both starts and count below"
    parts = [scf_table(columns), step_table(columns), bracket_table(columns), correlation_table(columns)]
    return "\n\n".join([first, *parts])


def usable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Molecules whose two calculations end in one state."""
    good = [r for r in rows if r["converged"] and abs(r["difference"]) < 1e-8]
    if len(good) < 2:
        raise SystemExit(f"{len(good)} of {len(rows)} molecules can be compared: too few")
    return good


def scf_table(columns: dict[str, np.ndarray]) -> str:
    """What the guess saves."""
    whole = columns["cpu_scf"] + columns["cpu_prediction"]
    wall = columns["wall_scf"] + columns["wall_prediction"]
    rows = [
        (title, spread(theirs), spread(ours), spread(ours / theirs, 3))
        for title, theirs, ours in (
            ("cycles", columns["cycles_minao"], columns["cycles"]),
            ("CPU s, SCF alone", columns["cpu_minao"], columns["cpu_scf"]),
            ("CPU s, prediction included", columns["cpu_minao"], whole),
            ("wall s, prediction included", columns["wall_minao"], wall),
        )
    ]
    return table(("SCF", "from minao", "from the prediction", "ratio"), rows)


def step_table(columns: dict[str, np.ndarray]) -> str:
    """What steps make of a prediction."""
    rows = [
        ("energy head, meV/atom", per_atom(columns, "head_energy"), "", "", ""),
        ("E[D], meV/atom", *(per_atom(columns, f"{k}_functional") for k in ("step", "second")), "", ""),
        (
            "Harris' energy, meV/atom",
            "",
            *(per_atom(columns, f"{k}_energy") for k in ("step", "second", "minao")),
        ),
    ]
    gaps = [f"{1e3 * np.abs(columns[k]).mean():.1f}" for k in ("gap", "step_gap", "second_gap", "minao_gap")]
    forces = [f"{1e3 * np.nanmean(columns[f'{k}_forces']):.3g}" for k in ("head", "step", "second")]
    times = [spread(columns[f"cpu_{k}"]) for k in ("prediction", "step", "second")]
    rows += [
        ("gap, meV", *gaps),
        ("forces, length of the error, meV/Å", *forces, ""),
        ("CPU s, each column on top of those before it", *times, ""),
        ("of the SCF", *(share(columns, f"cpu_{k}") for k in ("prediction", "step", "second")), ""),
        ("of the SCF, forces", "", *2 * (share(columns, "cpu_gradient"),), ""),
    ]
    head = ("mean absolute error", "prediction", "after one step", "after two", "two steps from minao")
    return table(head, rows)


def share(columns: dict[str, np.ndarray], name: str) -> str:
    """Mean share of the time of the SCF from minao."""
    return f"{(columns[name] / columns['cpu_minao']).mean():.2f}"


def bracket_table(columns: dict[str, np.ndarray]) -> str:
    """Errors of E[D] + w (Harris' − E[D]), meV/atom: what a weight would gain that is calibrated elsewhere.

    Along an error of the density whose orbital energies differ by Δ and which the potential answers with K,
    E[D] is too high by ½ (Δ + K) and Harris' energy too low by ½ (K + K²/Δ), times the error squared, so that
    they cancel with w = Δ / (Δ + K): a matter of functional and kind of error, and no constant.
    """
    high, low = (1e3 * columns[k] / columns["atoms"] for k in ("step_functional", "step_energy"))
    rows = []
    for w in np.linspace(0.5, 1.0, 6):
        error = np.abs(high + w * (low - high))
        rows.append((f"{w:.1f}", f"{np.median(error):.3f}", f"{error.mean():.3f}", f"{error.max():.2f}"))
    return table(("weight of Harris' energy against E[D]", "median, meV/atom", "mean", "largest"), rows)


def correlation_table(columns: dict[str, np.ndarray]) -> str:
    """Spearman's ρ of the error bar with true errors, of all molecules and within classes of size."""
    rows = []
    for title, (low, high) in {"all": (0, 999), **SIZES}.items():
        chosen = (columns["heavy"] >= low) & (columns["heavy"] <= high)
        if chosen.sum() < 4:
            continue
        residual, gain = columns["fock_residual"][chosen], -columns["energy_change"][chosen]
        true = columns["hamiltonian"], np.abs(columns["gap"]), columns["step_functional"] / columns["atoms"]
        pairs = zip((residual, residual, gain), (x[chosen] for x in true), strict=True)
        rows.append((title, chosen.sum(), *(f"{spearmanr(*pair).statistic:.2f}" for pair in pairs)))
    return table(("heavy atoms", "n", "residual – H", "residual – gap", "energy_change – E[D]"), rows)


def spread(values: np.ndarray, digits: int = 2) -> str:
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def per_atom(columns: dict[str, np.ndarray], name: str) -> str:
    return f"{1e3 * np.abs(columns[name] / columns['atoms']).mean():.3g}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The error bar against both errors."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = (("hamiltonian", "true H error / µEh", 1.0), ("gap", "true gap error / meV", 1e3))
    for axes, (name, unit, factor) in zip(figure.subplots(1, 2), panels, strict=True):
        for title, (low, high) in SIZES.items():
            chosen = [r for r in rows if low <= r["heavy"] <= high]
            x = [1e6 * r["fock_residual"] for r in chosen]
            axes.plot(x, [factor * abs(r[name]) for r in chosen], "o", ms=4, alpha=0.7, label=title)
        axes.set(xscale="log", yscale="log", xlabel="mean |F[D(H)] − H| / µEh", ylabel=unit)
        axes.set_ylim(bottom=np.percentile([factor * abs(r[name]) for r in rows], 2) / 2)  # luck aside
    axes.legend(frameon=False, title="heavy atoms")
    figure.savefig(path, dpi=150)


def read_rows(lines: Path, calc: HELMCalculator) -> list[dict[str, Any]]:
    """What an earlier run has measured with the same model and the same script."""
    rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    if any((r["model"], r.get("script")) != (calc.checkpoint.sha256, SCRIPT) for r in rows):
        raise SystemExit(
            f"{lines} is of another model or of another version of this script: take another folder"
        )
    return rows


def measure_all(
    options: argparse.Namespace, calc: HELMCalculator, lines: Path, rows: list[dict[str, Any]]
) -> None:
    """Measure what is missing in ``rows``, and keep it at once."""
    known = {r["name"] for r in rows}
    for path in options.labels:
        with open_labels(path) as source:
            if source.level.physical != calc.checkpoint.level.physical:
                raise SystemExit(f"{path} is of another level of theory than the model")
            chosen = [k for k in range(len(source)) if source.split_of(k) in options.splits]
            for k in chosen[: options.limit]:
                label, name = source[k], f"{Path(path).name}:{source[k].name}"
                if name in known:
                    continue
                if not rows:
                    measure(label, calc)  # pays for imports
                facts = {"name": name, "split": source.split_of(k)}
                rows.append(
                    measure(label, calc) | facts | {"model": calc.checkpoint.sha256, "script": SCRIPT}
                )
                with lines.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", nargs="+")
    parser.add_argument("--splits", nargs="+", default=["val", "test"])
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--model")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    lines, calc = folder / "molecules.jsonl", HELMCalculator(options.model)
    rows = read_rows(lines, calc)
    if not options.report_only:
        measure_all(options, calc, lines, rows)
    facts = {**machine(), "model": calc.checkpoint.name, "model_sha256": calc.checkpoint.sha256[:16]}
    text = (
        header("Back to DFT", **facts, splits=", ".join(sorted({r["split"] for r in rows})))
        + "\n\n"
        + report(rows)
    )
    (folder / "back_to_dft.md").write_text(text + "\n")
    draw(usable(rows), folder / "back_to_dft.png")
    print(text)


if __name__ == "__main__":
    main()
