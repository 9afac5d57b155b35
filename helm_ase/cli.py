"""``helm-ase``: parse, call, print."""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from helm_ase import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (0, or 1 after a message on standard error)."""
    options = _parser().parse_args(arguments)
    from helm_ase.errors import HelmError

    try:
        options.command(options)
    except (HelmError, OSError) as error:
        print(f"helm-ase: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="helm-ase", description="Energy, forces and the Kohn-Sham Hamiltonian of molecules with HELM."
    )
    parser.add_argument("--version", action="version", version=f"helm-ase {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="energy, forces, orbitals; optionally optimise or run MD"))
    models = commands.add_parser("models", help="list the models that can be loaded by name")
    models.set_defaults(command=_models)
    download = commands.add_parser("download", help="fetch models into the cache, for use without a network")
    download.add_argument("names", nargs="*", metavar="NAME")
    download.add_argument("--all", action="store_true", help="every model of the list")
    download.set_defaults(command=_download)
    info = commands.add_parser("info", help="what a checkpoint is: level of theory, basis, elements, errors")
    info.add_argument("model", nargs="?", help="name, path or address (default: the default model)")
    info.add_argument("--json", action="store_true", help="the whole header as JSON")
    info.set_defaults(command=_info)
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("file", metavar="FILE", help="structure in any format ASE reads (last frame)")
    run.add_argument("--model", help="name, path or address of a checkpoint")
    run.add_argument("--charge", type=int, default=0)
    run.add_argument("--multiplicity", type=int, default=1)
    run.add_argument("--device", help="cpu, cuda, ... (default: automatic)")
    run.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    run.add_argument("--opt", action="store_true", help="optimise the geometry (BFGS)")
    run.add_argument("--fmax", type=float, default=0.01, metavar="EV_PER_A", help="for --opt (0.01)")
    run.add_argument("--md", type=int, default=0, metavar="STEPS", help="steps of molecular dynamics")
    run.add_argument("--temperature", type=float, default=300.0, metavar="K", help="for --md (300)")
    run.add_argument("--timestep", type=float, default=0.5, metavar="FS", help="for --md (0.5)")
    run.add_argument("--nve", action="store_true", help="--md at constant energy instead of Langevin")
    run.add_argument("--seed", type=int, default=0, help="of the velocities and the thermostat")
    run.add_argument("--no-orbitals", action="store_true", help="skip the Hamiltonian")
    run.add_argument("--levels", metavar="PNG", help="draw the orbital levels")
    run.add_argument("-o", "--output", metavar="FILE", help="final structure with energy and forces (extxyz)")
    run.add_argument("--trajectory", metavar="FILE", help="frames of --opt or --md (.traj)")
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    import_module("helm_ase.session").run_file(options)


def _models(options: argparse.Namespace) -> None:
    checkpoint = import_module("helm_ase.checkpoint")
    default = checkpoint.default_model()
    for name, entry in checkpoint.list_models().items():
        where = "embedded" if entry.embedded else "download"
        mark = "*" if name == default else " "
        print(f"{mark} {name:<20} {entry.size / 1e6:6.1f} MB  {where:<9} {entry.description}")
    print("* default")


def _download(options: argparse.Namespace) -> None:
    checkpoint = import_module("helm_ase.checkpoint")
    names = list(checkpoint.list_models()) if options.all else options.names or [checkpoint.default_model()]
    for name in names:
        print(f"{name}: {checkpoint.resolve(name)}")


def _info(options: argparse.Namespace) -> None:
    checkpoint = import_module("helm_ase.checkpoint")
    path = checkpoint.resolve(options.model)
    header = checkpoint.read_header(path)
    if options.json:
        print(json.dumps(header, indent=2))
        return
    print(f"{header['name']}  (format {header['format_version']}, {path})")
    for title in ("level", "baseline", "metrics", "training"):
        print(f"{title}:")
        _print_fields(header[title])
    symbols = import_module("ase.data").chemical_symbols
    print("elements:", ", ".join(symbols[z] for z in header["elements"]))
    print("charges:", header["charges"], " multiplicities:", header["multiplicities"])


def _print_fields(fields: dict[str, Any]) -> None:
    for key, value in fields.items():
        print(f"  {key:<22} {value}")


if __name__ == "__main__":
    sys.exit(main())
