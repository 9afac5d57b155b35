"""``helm-ase data info | check | convert | merge | split``."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from helm_ase.cli.number_types import COUNT, NUMBER, SEED, real

if TYPE_CHECKING:
    from helm_ase.labels.merge import Copied
    from helm_ase.labels.source import LabelSource
    from helm_ase.labels.summary import Summary
    from helm_ase.representation import LevelOfTheory


FLOAT32 = (
    "store matrices in single precision; this changes H by less than 1e-6 Hartree up to Ne, and by up to "
    "2e-5 Hartree in the 1s levels of As and Br"
)
DESCRIPTION = """Work with label files, which hold the results of DFT calculations (labels: energy, forces,
Hamiltonian and others) for many geometries."""
ENERGIES = """Label files store energies in Hartree; ASE's eV (CODATA 2014) converts them.  In eV, energies
of programs that use CODATA 2018 differ from these by a relative 8e-9, which is 0.02 mHartree for a bromine
atom."""
READ_OPTION = "option of the reader of this format (may be repeated); if KEY is unknown, an error lists all"
LEVEL = """level of theory, for formats that do not state it, as in --level functional=pbe --level
basis=def2-tzvp"""
SPLIT_RULES = """rule of the division: molecule puts all geometries of a molecule into one part (default);
hash does so too, by a hash of the bonded molecule, so that a molecule goes to the same part in every file;
smiles is the same with a hash of the SMILES as written; frame divides single geometries at random; recorded
follows the splits that the file names; official:NAME follows a published split, see 'helm-ase data info'"""


def add_commands(commands: Any) -> None:
    """Add ``data``."""
    data = commands.add_parser(
        "data",
        help="inspect, check, convert, merge and split files of DFT labels",
        description=DESCRIPTION,
        epilog=ENERGIES,
    )
    actions = data.add_subparsers(required=True, metavar="ACTION")
    _add_info(actions)
    _add_check(actions)
    _add_convert(actions)
    _add_merge(actions)
    _add_split(actions)


def _add(actions: Any, name: str, command: Callable[[argparse.Namespace], None], help: str) -> Any:
    parser = actions.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.set_defaults(command=command)
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--format",
        help="format of the input, as 'helm-ase data info --formats' lists them (default: recognised by name "
        "and content)",
    )
    reading.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help=READ_OPTION)
    reading.add_argument("--level", action="append", default=[], metavar="KEY=VALUE", help=LEVEL)
    return parser


def _add_info(actions: Any) -> None:
    info = _add(
        actions, "info", _info, "show what files hold: level of theory, elements, sizes, quantities, splits"
    )
    info.add_argument("files", nargs="*", metavar="FILE", help="label files in any known format")
    info.add_argument("--formats", action="store_true", help="list the formats that can be read, and stop")
    info.add_argument(
        "--all",
        action="store_true",
        help="read every entry (default: of large files in other formats than the package's own, a sample)",
    )
    info.add_argument("--json", action="store_true", help="print JSON instead of text")


def _add_check(actions: Any) -> None:
    check = _add(actions, "check", _check, "check that labels are consistent with one another and with PySCF")
    check.add_argument("file", metavar="FILE", help="label file in any known format")
    check.add_argument("--sample", type=COUNT, metavar="N", help="check N random molecules (default: all)")
    check.add_argument(
        "--rebuild",
        type=NUMBER,
        default=0,
        metavar="N",
        help="also compute the Fock matrix of N of them with PySCF and compare: only this proves that "
        "orbital order, functional and basis are as stated (default: 0)",
    )
    check.add_argument("--seed", type=SEED, default=0, help="seed of the random choice (default: 0)")
    check.add_argument("--json", action="store_true", help="print JSON instead of text")


def _add_writing(parser: Any) -> None:
    writing = parser.add_argument_group("writing")
    precision = writing.add_mutually_exclusive_group()
    precision.add_argument("--float32", action="store_true", help=FLOAT32)
    precision.add_argument("--float64", action="store_true", help="store matrices in double precision "
                           "(default: precision of the input)")  # fmt: skip
    writing.add_argument("--energies-only", action="store_true",
                         help="leave out matrices and orbitals, which take most of the space")  # fmt: skip
    writing.add_argument("--force", action="store_true", help="replace output files that exist")


def _add_convert(actions: Any) -> None:
    convert = _add(actions, "convert", _convert, "write the labels of any known format into one HDF5 file")
    convert.add_argument("input", metavar="IN", help="label file or folder in any known format")
    convert.add_argument("output", metavar="OUT", help="label file to write (.h5)")
    convert.add_argument(
        "--limit", type=COUNT, metavar="N", help="copy the first N molecules only (default: all)"
    )
    _add_writing(convert)


def _add_merge(actions: Any) -> None:
    merge = _add(
        actions,
        "merge",
        _merge,
        "combine label files of one level of theory into one file, without duplicates",
    )
    merge.add_argument("files", nargs="+", metavar="FILE", help="label files of one level of theory")
    merge.add_argument("-o", "--output", required=True, metavar="OUT", help="label file to write (.h5)")
    _add_writing(merge)


def _add_split(actions: Any) -> None:
    split = _add(actions, "split", _split, "split a label file into training, validation and test sets")
    split.add_argument("file", metavar="FILE", help="label file in any known format")
    split.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="PREFIX",
        help="start of the names of the files to write: PREFIX.train.h5, PREFIX.val.h5, PREFIX.test.h5",
    )
    split.add_argument(
        "--val",
        type=real(0, 1),
        metavar="SHARE",
        help="fraction that becomes the validation set, 0 to 1 (default: 0.05; --by hash or smiles: 0.04)",
    )
    split.add_argument(
        "--test",
        type=real(0, 1),
        metavar="SHARE",
        help="fraction that becomes the test set, 0 to 1 (default: 0.05; --by hash or smiles: 0.06)",
    )
    split.add_argument("--by", default="molecule", metavar="RULE", help=SPLIT_RULES)
    split.add_argument(
        "--seed", type=SEED, default=0, help="seed of the random choice of molecule and frame (default: 0)"
    )
    _add_writing(split)


def _open(path: str, options: argparse.Namespace) -> "LabelSource":
    from helm_ase.labels.formats import open_labels, options_of

    extra: dict[str, Any] = {
        key: _json_or_text(text) for key, text in _pairs(options.option, "--option").items()
    }
    level = _pairs(options.level, "--level")
    if level and "level" in options_of(path, options.format):
        extra["level"] = _level(level)
    else:  # the reader takes these settings as single options
        extra |= level
    return open_labels(path, options.format, **extra)


def _pairs(texts: list[str], flag: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise _setting_error(f"{flag} {text!r}: write KEY=VALUE")
        pairs[key] = value
    return pairs


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _level(texts: dict[str, str]) -> "LevelOfTheory":
    from helm_ase.representation import LevelOfTheory

    known = asdict(LevelOfTheory())
    del known["label_basis"]  # of models only
    if unknown := set(texts) - set(known):
        raise _setting_error(
            f"--level has no field {', '.join(sorted(unknown))}; allowed: {', '.join(known)}"
        )
    fields: dict[str, Any] = {}
    for key, text in texts.items():
        kind = type(known[key])
        try:
            fields[key] = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise _setting_error(f"--level {key}={text}: a value like {known[key]!r} is needed") from None
    return LevelOfTheory(**fields)


def _setting_error(message: str) -> Exception:
    from helm_ase.errors import SettingError

    return SettingError(message)


def _info(options: argparse.Namespace) -> None:
    from helm_ase.labels.crystal_summary import CrystalSummary, holds_crystals, summarise_crystals
    from helm_ase.labels.summary import Summary, summarise

    if options.formats:
        _print_formats(options.json)
        return
    if not options.files:
        raise _setting_error("name a file, or use --formats")
    summaries: list[Summary | CrystalSummary] = []
    for path in options.files:
        if holds_crystals(path):
            summaries.append(crystals := summarise_crystals(path))
            if not options.json:
                print(crystals.text)
            continue
        with _open(path, options) as source:
            name = type(source).__module__.rsplit(".", 1)[-1]
            sample = {} if not options.all else {"sample": None}
            summaries.append(found := summarise(source, name, **sample, progress=sys.stderr.isatty()))
        if not options.json:
            _print_summary(found)
    if options.json:
        print(json.dumps([s.as_dict() for s in summaries], indent=2))


def _print_formats(as_json: bool) -> None:
    from helm_ase.labels.formats import readers

    known = {k: {"description": m.DESCRIPTION, "names": m.PATTERNS} for k, m in readers().items()}
    if as_json:
        print(json.dumps(known, indent=2))
        return
    for name, entry in known.items():
        print(f"{name:<14} {', '.join(entry['names']):<24} {entry['description']}")


def _print_summary(summary: "Summary") -> None:
    print(f"{summary.path}  ({summary.format}, {summary.bytes / 1e6:.1f} MB)")
    part = "" if summary.looked_at == summary.molecules else f" (what follows: {summary.looked_at} of them)"
    rows = {
        "molecules": f"{summary.molecules}{part}",
        "level": ", ".join(f"{k} {v}" for k, v in asdict(summary.level).items() if v != ""),
        "atoms": "{} to {}".format(*summary.atoms),
        "AOs": "{} to {}".format(*summary.orbitals) if any(summary.orbitals) else "",
        "elements": ", ".join(
            f"{s} {n} in {summary.molecules_with[s]} molecules" for s, n in summary.elements.items()
        ),
        "charge/multiplicity": _counts(summary.states),
        "answers": _counts(summary.answers),
        "splits": _counts(summary.splits),
        "official splits": ", ".join(summary.official_splits),
    }
    for key, value in rows.items():
        if value:
            print(f"  {key:<20} {value}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in counts.items())


def _check(options: argparse.Namespace) -> None:
    from helm_ase.errors import DatasetError
    from helm_ase.labels.check import check_labels, table

    with _open(options.file, options) as source:
        report = check_labels(
            source, options.sample, options.rebuild, options.seed, progress=sys.stderr.isatty()
        )
    print(json.dumps(report.as_dict(), indent=2) if options.json else table(report))
    if not report.passed:
        failed = [f.name for f in report.findings if not f.passed]
        raise DatasetError(
            f"{options.file} fails {len(failed)} of {len(report.findings)} checks: {', '.join(failed)}"
        )


def _writing(options: argparse.Namespace) -> dict[str, Any]:
    precision = "float32" if options.float32 else "float64" if options.float64 else None
    return {
        "precision": precision, "overwrite": options.force, "progress": sys.stderr.isatty(),
        "energies_only": options.energies_only,
    }  # fmt: skip


def _check_apart(outputs: list[str], inputs: list[str]) -> None:
    from helm_ase.system.atomic_write import check_apart

    check_apart(outputs, inputs)


def _convert(options: argparse.Namespace) -> None:
    from helm_ase.labels.merge import convert

    _check_apart([options.output], [options.input])
    with _open(options.input, options) as source:
        _report(convert(source, options.output, limit=options.limit, **_writing(options)))


def _merge(options: argparse.Namespace) -> None:
    from helm_ase.labels.merge import merge, numerical_differences

    _check_apart([options.output], options.files)
    sources = [_open(path, options) for path in options.files]
    _report(merge(sources, options.output, **_writing(options)))
    if unlike := numerical_differences(sources):
        print(f"the file states the level of {sources[0].path}; others differ in {unlike}")


def _split(options: argparse.Namespace) -> None:
    from helm_ase.labels.merge import split
    from helm_ase.labels.splits import divide

    with _open(options.file, options) as source:
        shares = {"val": options.val, "test": options.test}
        parts = divide(source, options.by, shares, options.seed, progress=sys.stderr.isatty())
        _check_apart([f"{options.output}.{name}.h5" for name in parts], [options.file])
        done = split(source, parts, options.output, **_writing(options))
    for name in parts:
        if name in done:
            _report(done[name])
        else:
            print(f"{name}: 0 molecules, no file")
    if left := len(source) - sum(map(len, parts.values())):
        print(f"{left} molecules belong to no part")


def _report(copied: "Copied") -> None:
    remarks = [
        f"{n} {what}"
        for n, what in ((copied.duplicates, "duplicates skipped"), (copied.renamed, "renamed"))
        if n
    ]
    print(f"{copied.path}: {copied.written} molecules" + (f" ({', '.join(remarks)})" if remarks else ""))
