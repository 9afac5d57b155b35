"""``helm-ase models | download | info | publish``."""

import argparse
import json
from typing import Any


def add_commands(commands: Any) -> None:
    """Add ``models``, ``download``, ``info`` and ``publish``."""
    models = commands.add_parser("models", help="list the models that can be loaded by name")
    models.set_defaults(command=_models)
    download = commands.add_parser(
        "download", help="download models into the cache, for use without a network"
    )
    download.add_argument("names", nargs="*", metavar="NAME", help="models (default: the default model)")
    download.add_argument("--all", action="store_true", help="download every model of the list")
    download.set_defaults(command=_download)
    info = commands.add_parser(
        "info", help="show what a checkpoint is: level of theory, basis, elements, errors"
    )
    info.add_argument(
        "model", nargs="?", help="name, path or address of a checkpoint (default: the default model)"
    )
    info.add_argument("--json", action="store_true", help="print the whole header as JSON")
    info.set_defaults(command=_info)
    publish = commands.add_parser("publish", help="enter a trained checkpoint by name in a folder of models")
    publish.add_argument("checkpoint", help="checkpoint file that training wrote")
    publish.add_argument("folder", help="folder with a manifest.json, which is created if there is none")
    publish.add_argument("name", help="name of the model; it can never be given to other weights")
    publish.add_argument("--description", default="", help="one line that 'helm-ase models' shows")
    publish.add_argument(
        "--not-embedded",
        action="store_true",
        help="the file is downloaded and does not come with the package",
    )
    publish.set_defaults(command=_publish)


def _models(options: argparse.Namespace) -> None:
    from helm_ase.checkpoint import default_model, list_models

    default = default_model()
    for name, entry in list_models().items():
        where = "embedded" if entry.embedded else "download"
        mark = "*" if name == default else " "
        print(f"{mark} {name:<20} {entry.size / 1e6:6.1f} MB  {where:<9} {entry.description}")
    print("* default")


def _download(options: argparse.Namespace) -> None:
    from helm_ase.checkpoint import default_model, list_models, resolve

    names = list(list_models()) if options.all else options.names or [default_model()]
    for name in names:
        print(f"{name}: {resolve(name)}")


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
    e0 = header["energy_baseline"]
    if e0.get("parameters"):
        e0["parameters"] = "of " + ", ".join(e0["parameters"]["element"])
        e0["references"] = f"{len(e0['references'])} energies, compared when the model is loaded"
    for title in ("level", "baseline", "energy_baseline", "metrics", "training"):
        print(f"{title}:")
        _print_fields(header[title])
    print("dispersion:", _dispersion(header))
    print("elements:", ", ".join(symbols[z] for z in header["elements"]))
    print("charges:", header["charges"], " multiplicities:", header["multiplicities"])


def _print_fields(fields: dict[str, Any]) -> None:
    for key, value in fields.items():
        print(f"  {key:<22} {value}")


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
