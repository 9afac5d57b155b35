"""``helm-ase models | download | info | publish``."""

import argparse
import json
from typing import Any

from helm_ase.cli.structure_options import MODEL

DOWNLOAD = """Download checkpoints into the cache, so that later commands need no network.  The cache is the
folder named by the environment variable HELM_CACHE_DIR (default: the user's cache folder)."""
INFO = """Show what a checkpoint says about itself: level of theory, baselines, elements, charges and
multiplicities that it was trained on, and its errors on the validation molecules."""
PUBLISH = """Copy a trained checkpoint into a folder of models and enter it, with name and checksum, in the
folder's manifest.json.  Models in the folder that comes with the package can then be loaded by name."""

UNITS = {
    "energy": "eV/atom", "forces": "eV/Å", "gap": "eV", "ghosts": "molecules with a LUMO far too low",
    "hamiltonian": "µEh", "homo": "eV", "lumo": "eV", "occupied": "eV (occupied levels)",
    "loss": "(what training made small)",
}  # fmt: skip
"""Printed after the metrics of a checkpoint."""
LONGEST = 400
"""Characters up to which a value is printed."""
REMARKS = {"metrics": "mean absolute errors on the validation molecules"}


def add_commands(commands: Any) -> None:
    """Add ``models``, ``download``, ``info`` and ``publish``."""
    models = commands.add_parser(
        "models",
        help="list the models that can be loaded by name",
        description="List the models that can be loaded by name, with size, whether the file comes with the "
        "package (embedded) or is downloaded on first use, and a description.  * marks the default model.",
    )
    models.set_defaults(command=_models)
    download = commands.add_parser(
        "download",
        help="download models into the cache, for use without a network",
        description=DOWNLOAD,
    )
    download.add_argument("names", nargs="*", metavar="NAME", help=MODEL)
    download.add_argument("--all", action="store_true", help="download every model of 'helm-ase models'")
    download.set_defaults(command=_download)
    info = commands.add_parser(
        "info",
        help="show the level of theory, basis, elements and errors of a checkpoint",
        description=INFO,
    )
    info.add_argument("model", nargs="?", help=MODEL)
    info.add_argument(
        "--json", action="store_true", help="print everything that the file records about the model, as JSON"
    )
    info.set_defaults(command=_info)
    _add_publish(commands)


def _add_publish(commands: Any) -> None:
    publish = commands.add_parser(
        "publish",
        help="give a trained checkpoint a name by which others can load it",
        description=PUBLISH,
    )
    publish.add_argument("checkpoint", help="checkpoint file written by 'helm-ase train'")
    publish.add_argument("folder", help="folder of models; folder and manifest.json are created if needed")
    publish.add_argument(
        "name",
        help="name of the model; one that the folder already has is refused, as a name always means one file",
    )
    publish.add_argument(
        "--description", default="", help="one line that 'helm-ase models' shows (default: none)"
    )
    publish.add_argument(
        "--not-embedded",
        action="store_true",
        help="record that the file is downloaded on first use (default: that it comes with the package)",
    )
    publish.set_defaults(command=_publish)


def _models(options: argparse.Namespace) -> None:
    from helm_ase.checkpoint import default_model, list_models

    default = default_model()
    for name, entry in list_models().items():
        where = "embedded" if entry.embedded else "download"
        mark = "*" if name == default else " "
        print(f"{mark} {name:<20} {entry.size / 1e6:6.1f} MB  {where:<9} {entry.description}")
    print("* default; embedded models come with the package, others are downloaded (HELM_WEIGHTS_URL)")


def _download(options: argparse.Namespace) -> None:
    from helm_ase.checkpoint import default_model, list_models, resolve
    from helm_ase.errors import CheckpointError

    names = list(list_models()) if options.all else options.names or [default_model()]
    failed: list[CheckpointError] = []
    for name in names:
        try:
            print(f"{name}: {resolve(name)}")
        except CheckpointError as error:
            failed.append(error)
    if failed:
        raise CheckpointError("; ".join(map(str, failed)))


def _publish(options: argparse.Namespace) -> None:
    from helm_ase.checkpoint.publication import publish

    made = publish(
        options.checkpoint, options.folder, options.name, options.description, not options.not_embedded
    )
    print(f"{options.folder}/{made.name}.safetensors, entered in {options.folder}/manifest.json")


def _info(options: argparse.Namespace) -> None:
    from ase.data import chemical_symbols as symbols

    from helm_ase.checkpoint import read_header, resolve

    path = resolve(options.model)
    header = read_header(path)
    if options.json:
        print(json.dumps(header, indent=2))
        return
    print(f"{header['name']}  (format {header['format_version']}, {path})")
    if operators := header["baseline"].get("operators"):
        header["baseline"]["operators"] = "of " + ", ".join(symbols[o["number"]] for o in operators)
        if header["baseline"].get("spins"):
            numbers = (f"{symbols[o['number']]} {o['exchange']:.3f}" for o in operators)
            header["baseline"]["exchange"] = ", ".join(numbers) + " Eh"
    e0 = header["energy_baseline"]
    if e0.get("parameters"):
        for key in ("parameters", "charge_parameters"):
            if tables := e0.get(key):
                method = tables.get("meta", {}).get("name", "")
                e0[key] = f"of {method}: {', '.join(tables['element'])}"
        e0["references"] = f"{len(e0['references'])} energies, compared when the model is loaded"
    for title in ("level", "baseline", "energy_baseline", "metrics", "training"):
        print(f"{title}: {REMARKS.get(title, '')}".rstrip())
        _print_fields(header[title], UNITS if title == "metrics" else {})
    print("dispersion:", _dispersion(header))
    print("elements:", ", ".join(symbols[z] for z in header["elements"]))
    print("charges:", header["charges"], " multiplicities:", header["multiplicities"])


def _print_fields(fields: dict[str, Any], units: dict[str, str]) -> None:
    for key, value in fields.items():
        shown = "long; printed by --json" if len(str(value)) > LONGEST else value
        print(f"  {key:<22} {shown if shown != '' else 'none'} {units.get(key, '')}".rstrip())


def _dispersion(header: dict[str, Any]) -> str:
    """What the energies hold, and what may be added to them."""
    from helm_ase.errors import SettingError
    from helm_ase.qc.dispersion import Dispersion

    functional = header["level"]["functional"]
    if header["energy_baseline"].get("dispersion"):
        return "part of the energy baseline"
    try:
        Dispersion("d3bj", functional)
    except SettingError as error:
        return f"none beyond that of {functional} ({error})"
    return f"none beyond that of {functional}; D3(BJ) is added with dispersion='d3bj'"
