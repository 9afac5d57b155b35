"""``helm-ase select``."""

import argparse
from typing import Any

from helm_ase.cli.number_types import COUNT

EPILOG = """Each step takes the structure whose energy is most uncertain once those chosen before are known:
the greedy maximum of det(1 + K/s^2) with K_ij = u_i u_j cos(f_i, f_j), u the error bar of the model (and its
disagreement with other models or with E[D(H)], if asked for) and f its last-layer features.  Copies, and
structures that have a label, are left out.  What the model cannot judge is written to OUTPUT.refused.xyz.
The order of the pool does not matter.  The chosen file is for 'helm-ase label'."""


def add_commands(commands: Any) -> None:
    """Add ``select``."""
    parser = commands.add_parser(
        "select", help="of many unlabelled structures those most worth labelling", epilog=EPILOG
    )
    parser.add_argument(
        "pool", nargs="+", metavar="POOL", help="structures in any format ASE reads (all frames)"
    )
    parser.add_argument("-n", "--count", type=COUNT, required=True, metavar="N", help="how many to choose")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the chosen (extended XYZ)")
    parser.add_argument("--model", help="name, path or address of a checkpoint (default: the default model)")
    parser.add_argument(
        "--committee",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="further models, whose energies may disagree",
    )
    parser.add_argument(
        "--functional-energy", action="store_true",
        help="also how far the energy is from E[D(H)]; one Fock matrix each",
    )  # fmt: skip
    parser.add_argument("--no-diversity", action="store_true", help="the most uncertain, alike or not")
    parser.add_argument(
        "--labelled", nargs="+", default=[], metavar="LABELS", help="label files: what they hold is left out"
    )
    parser.add_argument("--device", help="cpu, cuda, ... (default: automatic)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(command=_select, after_interrupt="- nothing was written")


def _select(options: argparse.Namespace) -> None:
    from pathlib import Path

    from helm_ase.errors import SettingError
    from helm_ase.labelling.pool import REFUSED, SelectionSettings, read_pool, select, write_selection
    from helm_ase.system.atomic_write import check_apart

    settings = SelectionSettings(
        options.count, options.model, tuple(options.committee), options.functional_energy,
        not options.no_diversity, options.device, not options.quiet,
    )  # fmt: skip
    check_apart([options.output, options.output + REFUSED], [*options.pool, *options.labelled])
    if not options.output.endswith((".xyz", ".extxyz")):
        raise SettingError(f"select writes .xyz or .extxyz files, not {options.output}")
    if not Path(options.output).resolve().parent.is_dir():
        raise SettingError(f"there is no folder {Path(options.output).parent} for {options.output}")
    selection = select(read_pool(options.pool), settings, _keys(options.labelled))
    beside = write_selection(selection, options.output)
    _print(selection)
    print(f"chosen: {options.output}" + (f"\nrefused: {beside}" if beside else ""))


def _keys(paths: list[str]) -> frozenset[str]:
    """Fingerprints of all structures that label files hold."""
    from helm_ase.labels.formats import open_labels

    keys: set[str] = set()
    for path in paths:
        with open_labels(path) as source:
            keys |= {source.key_of(k) for k in range(len(source))}
    return frozenset(keys)


def _print(selection: Any) -> None:
    """Table of the chosen, and how many are left out and why."""
    print(f"{'rank':>5}  {'name':<24} {'formula':<16} {'u / meV/atom':>13} {'of it left':>11}")
    for rank, (judged, choice) in enumerate(selection.chosen, 1):
        known = judged.error_bar is not None or judged.spread is not None or judged.functional is not None
        u = f"{1e3 * choice.uncertainty:13.2f}" if known else f"{'-':>13}"
        left = f"{choice.remaining / choice.uncertainty:11.0%}"
        name, formula = str(judged.atoms.info["name"]), judged.atoms.get_chemical_formula()
        print(f"{rank:>5}  {name:<24} {formula:<16} {u} {left}")
    print(
        f"{len(selection.chosen)} of {selection.pool} structures chosen; {selection.labelled} have a label "
        f"or are there twice, {len(selection.refused)} cannot be judged"
    )
    for judged in selection.refused[:5]:
        print(f"  {judged.atoms.info.get('name', '')}: {judged.error}")
