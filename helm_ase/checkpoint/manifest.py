"""Manifest: the list of models that can be loaded by name, checked strictly before it is used."""

import json
import re
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from helm_ase.errors import CheckpointError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Pattern of the names of models and of their files: no folders, no hidden files."""
CHECKSUM = re.compile(r"[0-9a-f]{64}")
LONGEST = 2**20
"""Largest size of a manifest in bytes."""


@dataclass(frozen=True)
class ModelEntry:
    """Model that can be loaded by name: its file, checksum and description."""

    name: str
    file: str
    """File name in the checkpoint folder of the package, and in the cache."""
    url: str
    """URL of the file, absolute or relative to HELM_WEIGHTS_URL."""
    sha256: str
    size: int
    """Bytes."""
    embedded: bool
    """Whether the file is part of the package."""
    description: str = ""
    uncertainty_sha256: str = ""
    """SHA-256 of the file with its error bar, which lies beside it; empty if it has none."""


@dataclass(frozen=True)
class Manifest:
    """Models by name, and which of them is used when none is named."""

    default: str
    models: dict[str, ModelEntry]


def read_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest.

    Raises
    ------
    CheckpointError
        If it is not valid JSON, or an entry is incomplete, of a wrong type, or names a file outside its
        folder.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LONGEST:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        data = json.loads(path.read_text(encoding="utf8"))
        models = {name: _entry(name, entry) for name, entry in data["models"].items()}
        default = data["default"]
        if models and default not in models:
            raise ValueError(f"the default {default!r} is none of its models")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): reinstall helm-ase, or mend it") from error
    return Manifest(default, models)


def _entry(name: str, given: dict[str, Any]) -> ModelEntry:
    kinds = {f.name: type(f.default) if f.default is not MISSING else str for f in fields(ModelEntry)}
    kinds |= {"size": int, "embedded": bool}
    entry = ModelEntry(name=name, **given)
    for key, kind in kinds.items():
        if type(getattr(entry, key)) is not kind:
            raise ValueError(f"{key} of {name!r} is {getattr(entry, key)!r}")
    if not NAME.fullmatch(name) or not NAME.fullmatch(entry.file):
        raise ValueError(f"{name!r} with file {entry.file!r}: names have letters, digits, '.', '_' and '-'")
    for checksum in filter(None, (entry.sha256, entry.uncertainty_sha256)):
        if not CHECKSUM.fullmatch(checksum):
            raise ValueError(f"{checksum!r} of {name!r} is no SHA-256")
    if not entry.sha256 or entry.size < 1 or urlparse(entry.url).scheme not in ("", "http", "https"):
        raise ValueError(f"{name!r} has checksum {entry.sha256!r}, size {entry.size}, address {entry.url!r}")
    return entry
