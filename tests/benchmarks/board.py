"""Reaction energies of GMTKN55: a model against its own level of theory and against the reference values.

    python tests/benchmarks/board.py GMTKN55.json.gz LABELS.h5 [LABELS.h5 …] [--model NAME_OR_PATH]
                                     [--trained LABELS.h5 …] [--density] [--refine 2] [--cache FILE]
                                     [--subsets S22 …] [--dispersion] [--counterpoise]
                                     [--json OUT] [--markdown OUT]

GMTKN55.json.gz holds ``reactions`` for each subset, each with ``reference_kcal_mol`` and ``species`` (name,
count, charge, unpaired, elements, positions_angstrom); it is read at run time and no part of the package.
LABELS.h5 holds species at the level of the model, recognised by geometry, charge and multiplicity; without
them only the references count.

Printed, for the neutral closed-shell reactions of H, C, N, O and F and for all: mean absolute deviations
(kcal/mol) by subset, and in total Σ n · 56.84 / mean|reference| · MAD / Σ n, which is like WTMAD-2: the mean
is over all reactions that the subset has in the set, n and MAD are of those answered.  All columns of a table
are over the same reactions.  Energies are the model's by its head and, if asked for, E[D(H)] and those after
SCF steps, where there are labels only for what is labelled.  ``--trained`` names label files of the training:
reactions with a species of more than three heavy atoms whose molecular graph is in their split ``train`` are
counted apart.  Reactions with a species none of whose atoms are bonded, so that its coordinates must be in
another unit, are left out.  ``--dispersion`` adds D3(BJ) to the model and its level, and compares the sums
with the references; ``--counterpoise`` adds gCP, too, which takes back what a small basis binds too much.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import gzip  # noqa: E402
import json  # noqa: E402
from collections.abc import Callable, Iterable, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from ase.data import atomic_numbers  # noqa: E402
from ase.units import kcal, mol  # noqa: E402
from methods import (  # noqa: E402
    Energies,
    Model,
    Xtb,
    add_energy_options,
    check_level,
    energy_kinds,
    graph_of,
    publish,
    trained_graphs,
)

from helm_ase.labels.formats import open_labels  # noqa: E402
from helm_ase.prediction.dispersion import dispersion_of  # noqa: E402
from helm_ase.qc.dispersion import counterpoise  # noqa: E402
from helm_ase.representation.connectivity import bonded  # noqa: E402
from helm_ase.representation.structure import Structure  # noqa: E402
from helm_ase.units import HARTREE_IN_EV  # noqa: E402

KCAL = kcal / mol
"""eV."""
TYPICAL = 56.84
"""kcal/mol; mean |reference| of GMTKN55, to which WTMAD-2 scales every subset."""
LOOSE = 1.5
"""Atoms further apart than this many times the sum of their covalent radii are not even loosely bonded."""
FIRST = frozenset((1, 6, 7, 8, 9))
"""Elements of the reactions that the first models can answer."""
SMALL = 3
"""Species of up to so many heavy atoms may be trained on."""
LEVEL, XTB = "level", Xtb.name
Correction = Callable[[Structure], float]
"""Energy of a structure, eV, that is added to that of a method."""


@dataclass(frozen=True)
class Reaction:
    """One reference value and what it is the energy of."""

    subset: str
    name: str
    reference: float
    """kcal/mol."""
    species: tuple[Structure, ...]
    counts: tuple[float, ...]

    @property
    def first(self) -> bool:
        """Whether all species are neutral closed shells of :data:`FIRST`."""
        return all(
            s.charge == 0 and s.multiplicity == 1 and set(s.numbers.tolist()) <= FIRST for s in self.species
        )

    @property
    def has_bonds(self) -> bool:
        """Whether every species of several atoms has bonds; else its coordinates are in another unit."""
        return all(len(s.numbers) == 1 or bonded(s.numbers, s.positions, LOOSE).any() for s in self.species)

    def energy(self, energies: Iterable[float | None]) -> float:
        """kcal/mol of energies of the species in eV; NaN if one is missing."""
        found = [np.nan if e is None else e for e in energies]
        return float(np.dot(self.counts, found)) / KCAL


def read_reactions(path: str) -> list[Reaction]:
    """All reactions of the file."""
    with gzip.open(path, "rt") as file:
        subsets = json.load(file)
    return [
        Reaction(
            subset, name, entry["reference_kcal_mol"],
            tuple(species_of(subset, s) for s in entry["species"]),
            tuple(float(s["count"]) for s in entry["species"]),
        )
        for subset, found in subsets.items()
        for name, entry in found["reactions"].items()
    ]  # fmt: skip


def species_of(subset: str, entry: dict[str, Any]) -> Structure:
    return Structure(
        f"{subset}/{entry['name']}",
        np.array([atomic_numbers[e] for e in entry["elements"]], dtype=np.int64),
        np.array(entry["positions_angstrom"], dtype=float),
        int(entry["charge"]),
        int(entry["unpaired"]) + 1,
    )


def read_level(paths: Sequence[str], wanted: set[str], model: Model) -> dict[str, float]:
    """Key of a species → energy of its label, eV."""
    energies = {}
    for path in paths:
        with open_labels(path) as source:
            check_level(source, model)
            chosen = (k for k in range(len(source)) if source.key_of(k) in wanted)
            energies |= {source.key_of(k): source[k].energy for k in chosen}
    return {key: energy for key, energy in energies.items() if energy is not None}


def corrections_of(options: argparse.Namespace, model: Model) -> dict[str, Correction]:
    """What is added, by the name that is written behind that of a method."""
    if not options.dispersion:
        return {}
    checkpoint = model.calc.checkpoint
    d3 = dispersion_of(checkpoint, "d3bj")
    level = checkpoint.level

    def both(s: Structure) -> float:
        gcp = counterpoise(s.numbers, s.positions, level.functional, level.basis)
        return (d3(s.numbers, s.positions).energy + gcp.energy) * HARTREE_IN_EV

    found: dict[str, Correction] = {" + D3": lambda s: d3(s.numbers, s.positions).energy * HARTREE_IN_EV}
    return found | ({" + D3 + gCP": both} if options.counterpoise else {})


def rows_of(
    reactions: Sequence[Reaction], level: dict[str, float], model: Model, kinds: Sequence[str],
    trained: set[str], energies: Energies, corrections: dict[str, Correction],
) -> list[dict[str, Any]]:  # fmt: skip
    """One row a reaction: its facts, and its energy in kcal/mol by every method (NaN: no answer)."""
    xtb, rows = Xtb(), []
    for r in reactions:
        large = [s for s in r.species if (s.numbers > 1).sum() > SMALL]
        row = {
            "subset": r.subset, "name": r.name, "reference": r.reference, "first": r.first,
            "trained": any(graph_of(s) in trained for s in large),
            LEVEL: r.energy(level.get(s.key) for s in r.species),
            XTB: r.energy(energies(xtb, s) for s in r.species),
        }  # fmt: skip
        worth = kinds if np.isfinite(row[LEVEL]) or not level else kinds[:1]
        for kind in kinds:
            row[kind] = r.energy(energies(model, s, kind) if kind in worth else None for s in r.species)
        for name, correction in corrections.items():
            added = r.energy(map(correction, r.species))
            row |= {f"{method}{name}": row[method] + added for method in (*kinds, LEVEL)}
        rows.append(row)
    return rows


def deviation(rows: Sequence[dict[str, Any]], one: str, other: str) -> np.ndarray:
    """|difference| of two columns, kcal/mol."""
    return np.array([abs(r[one] - r[other]) for r in rows])


def weights(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Weight of every subset in a set of reactions."""
    references: dict[str, list[float]] = {}
    for r in rows:
        references.setdefault(r["subset"], []).append(abs(r["reference"]))
    return {subset: TYPICAL / float(np.mean(values)) for subset, values in references.items()}


def total(rows: Sequence[dict[str, Any]], weight: dict[str, float], one: str, other: str) -> float:
    """Σ n · weight · MAD / Σ n over subsets, which is the mean of weight × |difference|."""
    return float(np.mean([weight[r["subset"]] for r in rows] * deviation(rows, one, other)))


def answered(rows: Sequence[dict[str, Any]], columns: Iterable[str]) -> list[dict[str, Any]]:
    """Rows without NaN in these columns."""
    return [r for r in rows if np.isfinite([r[c] for c in columns]).all()]


def comparisons(
    kinds: Sequence[str], labelled: bool, corrections: Iterable[str]
) -> dict[str, tuple[str, str]]:
    """Heading → the two columns that it compares."""
    found = {f"{k} − level": (k, LEVEL) for k in kinds} if labelled else {}
    found |= {f"{k} − ref.": (k, "reference") for k in kinds}
    found |= {"level − ref.": (LEVEL, "reference")} if labelled else {}
    sums = [f"{k}{c}" for c in corrections for k in (*kinds, *([LEVEL] if labelled else []))]
    found |= {f"{name} − ref.": (name, "reference") for name in sums}
    return found | {f"{XTB} − ref.": (XTB, "reference")}


def section(
    title: str, rows: Sequence[dict[str, Any]], kinds: Sequence[str], labelled: bool, apart: bool,
    corrections: Iterable[str] = (),
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    """Table of one set of reactions, and its totals."""
    pairs, weight = comparisons(kinds, labelled, corrections), weights(rows)
    used = answered(rows, {c for pair in pairs.values() for c in pair})
    if not used:
        return f"### {title}: none of {len(rows)}", {}
    lines = []
    for subset in weight:
        part = [r for r in used if r["subset"] == subset]
        count = f"{len(part)} of {sum(r['subset'] == subset for r in rows)}"
        mads = [f"{deviation(part, *p).mean():.2f}" if part else "" for p in pairs.values()]
        lines.append([subset, count, *mads])
    groups = {"total": used}
    if apart:
        groups |= {f"total, {n} trained species": [r for r in used if r["trained"] == (n == "with")]
                   for n in ("without", "with")}  # fmt: skip
    totals = {}
    for name, part in groups.items():
        totals[name] = {"n": len(part)} | {h: total(part, weight, *p) for h, p in pairs.items() if part}
        figures = [f"**{totals[name][h]:.2f}**" if part else "" for h in pairs]
        lines.append([f"**{name}**", f"{len(part)} of {len(rows)}" if part is used else len(part), *figures])
    return f"### {title}\n\n" + table(["kcal/mol", "reactions", *pairs], lines), totals


def report_of(
    rows: Sequence[dict[str, Any]], kinds: Sequence[str], labels: bool, apart: bool,
    corrections: Sequence[str] = (),
) -> tuple[list[str], dict[str, Any]]:  # fmt: skip
    """Tables of both sets, with labels and without, and their totals."""
    parts, totals = [], {}
    sets = {"neutral closed shells of H, C, N, O, F": [r for r in rows if r["first"]], "all": rows}
    for title, chosen in sets.items():
        for labelled in (True, False) if labels else (False,):
            name = f"{title}{', labelled' if labelled else ''}"
            shown = kinds if labelled or not labels else kinds[:1]
            text, totals[name] = section(name, chosen, shown, labelled, apart, corrections)
            parts.append(text)
    return parts, totals


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reactions", help="GMTKN55.json.gz")
    parser.add_argument("labels", nargs="*", help="species at the level of the model")
    parser.add_argument("--model", help="name or path of a checkpoint (default: the shipped one)")
    parser.add_argument("--trained", nargs="+", default=[], help="label files of the training")
    parser.add_argument("--subsets", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--dispersion", action="store_true", help="also with D3(BJ)")
    parser.add_argument("--counterpoise", action="store_true", help="with --dispersion: also with D3 + gCP")
    add_energy_options(parser)
    options = parser.parse_args()
    model, kinds = Model(options.model), energy_kinds(options)
    wanted = [
        r for r in read_reactions(options.reactions) if not options.subsets or r.subset in options.subsets
    ]
    reactions = [r for r in wanted if r.has_bonds]
    level = read_level(options.labels, {s.key for r in reactions for s in r.species}, model)
    trained = trained_graphs(options.trained)
    corrections = corrections_of(options, model)
    rows = rows_of(reactions, level, model, kinds, trained, Energies(options.cache), corrections)
    parts, totals = report_of(rows, kinds, bool(level), bool(trained), list(corrections))
    facts = machine() | {
        "model": model.name, "model_sha256": model.identity[:16],
        "reactions": len(rows), "left_out": len(wanted) - len(rows), "labelled_species": len(level),
    }  # fmt: skip
    report = "\n\n".join([header("Reaction energies of GMTKN55", **facts), *parts])
    publish(report, {"totals": totals, "reactions": rows}, options)


if __name__ == "__main__":
    main()
