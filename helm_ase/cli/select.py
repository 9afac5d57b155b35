"""``helm-ase select``."""

import argparse
from typing import Any

from helm_ase.cli.number_types import COUNT
from helm_ase.cli.structure_options import DEVICE, MODEL

DESCRIPTION = """Choose, from many unlabelled structures (the pool), those from whose DFT labels a model would
learn most, and write them to a file for 'helm-ase label'."""
EPILOG = """Structures are chosen one by one: each time the one whose energy would be most uncertain if the
labels of those chosen before were known.  This is the greedy maximum of det(1 + K/s^2), where
K_ij = u_i u_j cos(f_i, f_j), u_i is the uncertainty of structure i, f_i the features in the last layer of the
network, and s one tenth of the median of u.  The uncertainty is the error bar that 'helm-ase
calibrate' made, combined with the spread of --committee and the difference of --functional-energy where these
are given.  Duplicates and structures that have a label are left out.  Structures for which the model cannot
predict an energy are written to FILE.refused.xyz, beside the output.  The order of the pool does not
matter."""


def add_commands(commands: Any) -> None:
    """Add ``select``."""
    parser = commands.add_parser(
        "select",
        help="choose the structures most worth labelling from a pool",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "pool", nargs="+", metavar="POOL", help="structures in any format that ASE reads (all frames)"
    )
    parser.add_argument(
        "-n", "--count", type=COUNT, required=True, metavar="N", help="number of structures to choose"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="file for the chosen structures, most valuable first (.xyz or .extxyz)",
    )
    _add_uncertainty(parser)
    parser.add_argument(
        "--labelled",
        nargs="+",
        default=[],
        metavar="LABELS",
        help="leave out structures that these label files hold",
    )
    parser.add_argument("--device", help=DEVICE)
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    parser.set_defaults(command=_select, after_interrupt="- nothing was written")


def _add_uncertainty(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help=MODEL)
    parser.add_argument(
        "--committee",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="further checkpoints; the spread of the energies of all models adds to the uncertainty",
    )
    parser.add_argument(
        "--functional-energy", action="store_true",
        help="add to the uncertainty how far the predicted energy is from E[D(H)], the DFT energy of the "
        "density D that the predicted Hamiltonian H gives; PySCF builds one Fock matrix per structure",
    )  # fmt: skip
    parser.add_argument(
        "--no-diversity", action="store_true", help="take the most uncertain structures, however similar"
    )


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
