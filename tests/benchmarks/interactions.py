"""Interaction energies of dimers against the level of theory, by kind.

    python tests/benchmarks/interactions.py LABELS.h5 [LABELS.h5 …] [--models NAME_OR_PATH …] [--density]
                                            [--refine 2] [--cache FILE] [--json OUT] [--markdown OUT]

LABELS.h5 holds, for each pair of dimers.smi, the dimer and both molecules at the geometries that they have
in it; the keys ``pair`` (number of the line, from 0) and ``part`` (``dimer``, ``a`` or ``b``) in the comment
lines of the structures say which is which.  E(dimer) − E(a) − E(b) has no counterpoise correction: the level
itself is the target.  Beside the models: GFN2-xTB and the former default.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from methods import (  # noqa: E402
    FORMER,
    Energies,
    Model,
    Xtb,
    add_energy_options,
    check_level,
    energy_kinds,
    models_of,
    publish,
    structure_of,
)

from helm_ase.labels.formats import open_labels  # noqa: E402
from helm_ase.representation import LabelledMolecule  # noqa: E402
from helm_ase.representation.structure import Structure  # noqa: E402

NAMES = Path(__file__).with_name("dimers.smi")
PARTS = {"dimer": 1, "a": -1, "b": -1}
"""Part → its count in the interaction energy."""


def read_names() -> list[tuple[str, str]]:
    """Kind and name of every pair."""
    lines = [line.split("\t") for line in NAMES.read_text().splitlines() if not line.startswith("#")]
    return [(kind, name) for _, kind, name in lines]


def read_pairs(paths: Sequence[str], model: Model) -> dict[int, dict[str, LabelledMolecule]]:
    """Number of a pair → part → label, of those that have all parts."""
    pairs: dict[int, dict[str, LabelledMolecule]] = {}
    for path in paths:
        with open_labels(path) as source:
            check_level(source, model)
            for label in source:
                if label.details.get("part") in PARTS and "pair" in label.details:
                    pairs.setdefault(int(label.details["pair"]), {})[label.details["part"]] = label
    return {k: pairs[k] for k in sorted(pairs) if set(pairs[k]) == set(PARTS)}


def interaction(parts: dict[str, LabelledMolecule], energy: Callable[[Structure], float | None]) -> float:
    """meV; NaN where an energy is missing."""
    found = {part: energy(structure_of(label)) for part, label in parts.items()}
    return 1e3 * sum(PARTS[p] * (np.nan if e is None else e) for p, e in found.items())


def measure(
    pairs: dict[int, dict[str, LabelledMolecule]], methods: dict[str, tuple[Any, str]], energies: Energies
) -> list[dict[str, Any]]:
    """One row a pair: kind, name, interaction energy of the level and error of every method, meV."""
    names, rows = read_names(), []
    for k, parts in pairs.items():
        level = 1e3 * sum(count * parts[part].energy for part, count in PARTS.items())
        errors = {
            title: interaction(parts, lambda s, m=method, k=kind: energies(m, s, k)) - level
            for title, (method, kind) in methods.items()
        }
        rows.append({"kind": names[k][0], "name": names[k][1], "level": level, **errors})
    return rows


def mean_errors(rows: Sequence[dict[str, Any]], titles: Sequence[str]) -> list[list[Any]]:
    """Mean absolute errors by kind and in all, with the number of pairs where a method has not all."""
    lines = []
    for kind in [*dict.fromkeys(r["kind"] for r in rows), "all"]:
        part = [r for r in rows if kind in (r["kind"], "all")]
        cells = []
        for title in titles:
            errors = np.abs([r[title] for r in part])
            known = errors[np.isfinite(errors)]
            note = f" ({len(known)})" if len(known) < len(part) else ""
            cells.append(f"{known.mean():.1f}{note}" if len(known) else "")
        lines.append([f"**{kind}**", len(part), *cells])
    return lines


def report_of(rows: Sequence[dict[str, Any]], titles: Sequence[str]) -> str:
    """Means by kind, then every pair."""
    each = [
        [r["name"], f"{r['level']:.0f}", *(f"{r[t]:+.1f}" if np.isfinite(r[t]) else "" for t in titles)]
        for r in rows
    ]
    return "\n\n".join([
        "Mean absolute error of the interaction energy, meV (in brackets: pairs answered, if not all)",
        table(["kind", "pairs", *titles], mean_errors(rows, titles)),
        "Error of each, meV",
        table(["pair", "level", *titles], each),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", nargs="+")
    parser.add_argument(
        "--models", nargs="+", help="names or paths of checkpoints (default: the shipped one)"
    )
    add_energy_options(parser)
    options = parser.parse_args()
    models, kinds = models_of(options.models), energy_kinds(options)
    methods: dict[str, tuple[Any, str]] = {
        m.name if kind == "head" else f"{m.name}, {kind}": (m, kind)
        for m in models
        for kind in (kinds if m.name != FORMER else kinds[:1])
    }
    methods[Xtb.name] = (Xtb(), "head")
    pairs = read_pairs(options.labels, models[0])
    rows = measure(pairs, methods, Energies(options.cache))
    facts = machine() | {f"{m.name}_sha256": m.identity[:16] for m in models} | {"pairs": len(rows)}
    report = header("Interaction energies of dimers", **facts) + "\n\n" + report_of(rows, list(methods))
    publish(report, rows, options)


if __name__ == "__main__":
    main()
