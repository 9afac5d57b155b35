"""Output of an assessment: tables of text, JSON, and CSV with one line for each molecule."""

import csv
import io
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from helm_ase.checkpoint import Checkpoint
from helm_ase.evaluation.assessment import Assessment, MoleculeReport
from helm_ase.evaluation.breakdown import Breakdown, Tally, bin_name, pair_name
from helm_ase.evaluation.selection import Selection, data_sha256
from helm_ase.evaluation.statistics import (
    QUANTITIES,
    Quantity,
    by_heavy_atoms,
    by_size,
    by_state,
    ghosts,
    scf_summary,
    statistics,
    values,
)
from helm_ase.system.atomic_write import whole_file
from helm_ase.units import HARTREE_IN_EV

GROUPED = ("hamiltonian", "gap", "wavefunction", "energy", "forces")
"""Quantities of the tables by size."""
PACKAGES = ("helm-ase", "torch", "numpy", "scipy", "pyscf")


@dataclass(frozen=True)
class Facts:
    """Identity of an assessment: model, data, versions; file names without folders."""

    checkpoint: str
    checkpoint_sha256: str
    data: str
    data_sha256: str
    level: Mapping[str, Any]
    """Level of theory of the labels."""
    baseline: Mapping[str, Any]
    split: str
    """``all`` for the whole file."""
    molecules: int
    skipped: int
    """Number of molecules left out because the model does not know their elements or state."""
    remarks: Sequence[str]
    versions: Mapping[str, str]


def facts_of(checkpoint: Checkpoint, selection: Selection) -> Facts:
    """Collect what identifies an assessment."""
    data, level = selection.dataset.source.path, selection.level
    unsaid = f"the labels do not say which {level.functional} they have; PySCF's is taken for SCF and E[D(H)]"
    return Facts(
        checkpoint.name,
        checkpoint.sha256,
        data.resolve().name,
        data_sha256(data),
        asdict(level),
        dict(zip(("name", "settings"), checkpoint.baseline.signature, strict=True)),
        selection.split or "all",
        len(selection.dataset),
        selection.skipped,
        selection.remarks if level.variant else (*selection.remarks, unsaid),
        {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return "not installed"


# --- JSON ---------------------------------------------------------------------------------------------


def as_json(facts: Facts, assessment: Assessment) -> str:
    """Results without the table of molecules, as JSON; missing numbers are null."""
    reports = assessment.molecules
    scf = scf_summary(reports)
    content = asdict(facts) | {
        "errors": {
            name: {"title": q.title, "unit": q.unit, "model": asdict(statistics(name, reports))}
            | ({"h0": asdict(statistics(name, reports, baseline=True))} if q.of_matrix else {})
            for name, q in QUANTITIES.items()
        },
        "ghosts": {"model": ghosts(reports), "h0": ghosts(reports, baseline=True)},
        "references": {
            "dipole_from_label": sum(r.dipole_from_label for r in reports),
            "energy_from_label": sum(r.energy_from_label for r in reports),
        },
        "scf": None if scf is None else asdict(scf) | {"not_converged": assessment.scf_failures},
        "hamiltonian_by_elements": _classes(assessment, lambda b: b.pairs, pair_name),
        "hamiltonian_by_distance": _classes(assessment, lambda b: b.distances, bin_name),
        "by_state": _groups(by_state(reports)),
        "by_atoms": _groups(by_size(reports)),
        "by_heavy_atoms": _groups(by_heavy_atoms(reports)),
    }
    return json.dumps(_without_nan(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _classes(
    assessment: Assessment, of: Callable[[Breakdown], Mapping[Any, Tally]], name: Callable[[Any], str]
) -> list[dict[str, Any]]:
    """µEh; ``share`` sums to the mean error of H over molecules."""
    count = len(assessment.molecules)
    h0 = of(assessment.baseline)
    return [
        {
            "class": name(key),
            "elements": tally.elements,
            "mean": 1e6 * tally.mean,
            "rms": 1e6 * tally.rms,
            "share": 1e6 * tally.share / count,
            "h0_mean": 1e6 * h0[key].mean,
            "h0_share": 1e6 * h0[key].share / count,
        }
        for key, tally in of(assessment.model).items()  # none where no Hamiltonian is predicted
    ]


def _groups(groups: Mapping[str, Sequence[MoleculeReport]]) -> dict[str, Any]:
    return {
        group: {"molecules": len(members)} | {name: asdict(statistics(name, members)) for name in QUANTITIES}
        for group, members in groups.items()
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- CSV ----------------------------------------------------------------------------------------------


def as_csv(reports: Sequence[MoleculeReport]) -> str:
    """One line for each molecule: errors with their signs in the units of :data:`QUANTITIES`."""
    identity = ("name", "formula", "smiles", "atoms", "heavy_atoms", "functions", "charge", "multiplicity")
    columns: dict[str, Sequence[Any]] = {name: [getattr(r, name) for r in reports] for name in identity}
    for level in ("homo", "lumo"):
        columns[f"{level}_reference_eV"] = [getattr(r, level) for r in reports]
        columns[f"{level}_predicted_eV"] = [getattr(r.model, level) for r in reports]
    for name, quantity in QUANTITIES.items():
        columns[_column(name, quantity)] = values(name, reports).tolist()
        if quantity.of_matrix:
            columns[f"h0_{_column(name, quantity)}"] = values(name, reports, baseline=True).tolist()
    columns["ghost"] = [int(r.model.errors.ghost) for r in reports]
    columns["h0_ghost"] = [int(r.baseline.errors.ghost) for r in reports]
    columns["scf_cycles"] = [r.scf.cycles if r.scf else "" for r in reports]
    columns["scf_cycles_minao"] = [r.scf.cycles_minao if r.scf else "" for r in reports]
    columns["scf_difference_eV"] = [r.scf.difference * HARTREE_IN_EV if r.scf else "" for r in reports]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(x) for x in row] for row in zip(*columns.values(), strict=True))
    return text.getvalue()


def _column(name: str, quantity: Quantity) -> str:
    unit = quantity.unit.replace("µ", "u").replace("·", "").replace("Å", "A").replace("/", "_per_")
    return f"{name.removesuffix('_molecule')}_{unit.replace('%', 'percent')}"


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.8g}"
    return value


# --- tables -------------------------------------------------------------------------------------------


def as_text(facts: Facts, assessment: Assessment) -> str:
    """Markdown that also reads well in a terminal."""
    reports = assessment.molecules
    skipped = f", {facts.skipped} left out" if facts.skipped else ""
    level = f"{facts.level['functional']}/{facts.level['basis']}"
    parts = [
        f"# {facts.checkpoint} on {facts.data}, split {facts.split}",
        f"{facts.molecules} molecules{skipped}, {level}, H0: {facts.baseline['name']}",
        *(f"Note: {remark}." for remark in facts.remarks),
        _main_table(reports),
        "Of ψ, which is 100 % for a perfect model, the third column is the 5th percentile.  Energy from H is "
        "E[D(H)]; the other energy and the forces are those of the energy head.",
        f"Ghost LUMOs (more than 0.05 Eh too low): {ghosts(reports)} of {len(reports)}; "
        f"H0 alone: {ghosts(reports, baseline=True)}.",
        *_scf_lines(assessment),
        "## H by elements, µEh",
        _class_table("atoms", _classes(assessment, lambda b: b.pairs, pair_name)),
        "## H by distance, µEh",
        _class_table("Å", _classes(assessment, lambda b: b.distances, bin_name)),
        "## By charge and spin",
        _group_table("state", by_state(reports)),
        "## By number of heavy atoms",
        _group_table("heavy atoms", by_heavy_atoms(reports)),
        "## By number of atoms",
        _group_table("atoms", by_size(reports)),
    ]
    return "\n\n".join(parts) + "\n"


def _main_table(reports: Sequence[MoleculeReport]) -> str:
    rows = []
    for name, q in QUANTITIES.items():
        summary = statistics(name, reports)
        if not summary.molecules:
            continue
        cells = [summary.mean, summary.median, summary.tail, summary.worst]
        h0 = statistics(name, reports, baseline=True)
        cells += [h0.mean, h0.median] if q.of_matrix else [math.nan] * 2
        rows.append([f"{q.title}, {q.unit}", *(_number(c, q.similarity) for c in cells)])
    return table(["absolute error", "mean", "median", "95 %", "worst", "H0 mean", "H0 median"], rows)


def _scf_lines(assessment: Assessment) -> list[str]:
    scf = scf_summary(assessment.molecules)
    failures = assessment.scf_failures
    lines = []
    if scf is not None:
        lines.append(
            f"SCF cycles from the predicted density: {scf.cycles:.1f} instead of {scf.cycles_minao:.1f} from "
            f"minao, ratio {scf.ratio:.2f} ± {_number(scf.ratio_std)} ({scf.molecules} molecules); energies "
            f"agree to {scf.largest_difference:.1e} eV."
        )
    if failures:
        lines.append(f"On {failures} molecules one of the two SCF calculations did not converge.")
    return lines


def _class_table(title: str, classes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [c["class"], str(c["elements"]), *(_number(c[k]) for k in ("mean", "rms", "share", "h0_mean"))]
        for c in classes
    ]
    return table([title, "elements", "mean", "rms", "share of the mean of H", "H0 mean"], rows)


def _group_table(title: str, groups: Mapping[str, Sequence[MoleculeReport]]) -> str:
    names = [f"{QUANTITIES[k].title.split(',')[0]}, {QUANTITIES[k].unit}" for k in GROUPED]
    header = [title, "molecules", *names]
    rows = [
        [group, str(len(members)), *(_mean(name, members) for name in GROUPED)]
        for group, members in groups.items()
    ]
    return table(header, rows)


def _mean(name: str, members: Sequence[MoleculeReport]) -> str:
    return _number(statistics(name, members).mean, QUANTITIES[name].similarity)


def _number(value: float, similarity: bool = False) -> str:
    """Three digits; of a similarity, which is close to 100, as many as tell it from 100."""
    if similarity and math.isfinite(value):
        return f"{value:.2f}"
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "inf"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 90 else f"{value:.1f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table with aligned columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    lines = []
    for line in (header, rule, *rows):
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        cells[0] = line[0].ljust(widths[0])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears complete or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf8")
