"""Turn trained weights into a checkpoint file with an honest header."""

import json
from pathlib import Path
from typing import Any

import torch

from helm_ase.checkpoint.format import Checkpoint, file_sha256, save_checkpoint
from helm_ase.data.formats import open_labels
from helm_ase.nn import HELM
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.training.evaluation import evaluate, summarise
from helm_ase.training.launch import Recipe, load_split


def export(
    recipe: Recipe, weights: str | Path, name: str, folder: str | Path, description: str = ""
) -> Checkpoint:
    """Write ``name``.safetensors and enter it in the manifest of ``folder``.

    Parameters
    ----------
    recipe
        The recipe that made the weights.
    weights
        ``best.pt`` of its last stage.
    name
        Immutable name of the checkpoint.
    folder
        Checkpoint folder; the manifest is created if absent.
    description
        One line for ``helm-ase models``.
    """
    model = HELM(ao_basis(recipe.level.basis, recipe.elements), recipe.settings)
    model.load_state_dict(torch.load(weights, weights_only=True))
    train = [(x.numbers, x.positions) for x in open_labels(recipe.data) if x.split == "train"]
    validation = load_split(recipe, "val")
    checkpoint = Checkpoint(
        name=name,
        model=model,
        level=recipe.level,
        baseline=recipe.baseline,
        coverage=DistanceCoverage.collect(train, recipe.settings.backbone.cutoff),
        training={
            "data_sha256": file_sha256(recipe.data),
            "data_file": Path(recipe.data).name,
            "train_structures": len(train),
            "validation_structures": len(validation),
        },
        metrics={k: round(v, 6) for k, v in summarise(evaluate(model, validation)).items()},
    )
    target = Path(folder) / f"{name}.safetensors"
    sha256 = save_checkpoint(checkpoint, target)
    _enter_in_manifest(Path(folder) / "manifest.json", name, target, sha256, description)
    return checkpoint


def _enter_in_manifest(path: Path, name: str, target: Path, sha256: str, description: str) -> None:
    manifest: dict[str, Any] = {"default": name, "models": {}}
    if path.exists():
        manifest = json.loads(path.read_text())
    manifest["models"][name] = {
        "file": target.name,
        "url": target.name,
        "sha256": sha256,
        "size": target.stat().st_size,
        "embedded": True,
        "description": description,
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(manifest, indent=2) + "\n")
    partial.replace(path)
