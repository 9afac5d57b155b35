"""Publication of a trained checkpoint as a model that others load by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from helm_ase.checkpoint.format import Checkpoint, read_checkpoint, save_checkpoint
from helm_ase.checkpoint.manifest import NAME, read_manifest
from helm_ase.errors import CheckpointError
from helm_ase.system.atomic_write import whole_file


def publish(
    source: str | Path, folder: str | Path, name: str, description: str = "", embedded: bool = True
) -> Checkpoint:
    """Write ``name``.safetensors into a folder and enter it in the folder's manifest.

    Parameters
    ----------
    source
        Checkpoint, as training wrote it.
    folder
        Place of the checkpoints; the manifest is made if there is none.
    name
        Name under which the model can be loaded.  A name always means the same weights.
    description
        One line for ``helm-ase models``.
    embedded
        Whether the file is part of the package; otherwise it is downloaded on first use.

    Raises
    ------
    CheckpointError
        If the file is not a checkpoint, or the name is already in use or not a valid name.
    """
    if not NAME.fullmatch(name):
        raise CheckpointError(
            f"{name!r} is not a name for a model: letters, digits, '.', '_' and '-' are allowed"
        )
    checkpoint = replace(read_checkpoint(source), name=name)
    Path(folder).mkdir(parents=True, exist_ok=True)
    target, path = Path(folder) / f"{name}.safetensors", Path(folder) / "manifest.json"
    manifest: dict[str, Any] = {"default": name, "models": {}}
    if path.exists():
        read_manifest(path)  # raises an error if it is damaged
        manifest = json.loads(path.read_text(encoding="utf8"))
    if target.exists() or name in manifest["models"]:
        raise CheckpointError(
            f"{folder} already has a model {name!r}; names are not used twice: choose another"
        )
    entry: dict[str, Any] = {
        "file": target.name,
        "url": target.name,
        "sha256": save_checkpoint(checkpoint, target),
    }
    entry |= {"size": target.stat().st_size, "embedded": embedded, "description": description}
    manifest["models"][name] = entry
    with whole_file(path) as partial:
        partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf8")
    return checkpoint
