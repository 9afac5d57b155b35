"""Checkpoints: the file format, and the registry that finds files by name."""

from helm_ase.checkpoint.format import Checkpoint, read_checkpoint, read_header, save_checkpoint
from helm_ase.checkpoint.manifest import ModelEntry
from helm_ase.checkpoint.registry import (
    default_model,
    knowledge_at_hand,
    list_models,
    load_model,
    load_shared,
    resolve,
)

__all__ = [
    "Checkpoint",
    "ModelEntry",
    "default_model",
    "knowledge_at_hand",
    "list_models",
    "load_model",
    "load_shared",
    "read_checkpoint",
    "read_header",
    "resolve",
    "save_checkpoint",
]
