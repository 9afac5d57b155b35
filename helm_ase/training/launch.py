"""Start a training run: read data, build or restore the model, run one or several workers."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from helm_ase.checkpoint import load_model
from helm_ase.checkpoint.format import file_sha256
from helm_ase.data.dataset import MoleculeDataset, open_dataset
from helm_ase.data.sample import Sample
from helm_ase.errors import SettingError
from helm_ase.nn import HELM, HELMSettings
from helm_ase.qc.level import Baseline, LevelOfTheory
from helm_ase.qc.molecule import ao_basis
from helm_ase.training.referencing import fit_block_scales, fit_energy_references
from helm_ase.training.trainer import Schedule, Trainer


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a training run."""

    data: str
    """File of labels with the splits ``train`` and ``val``."""
    folder: str
    """Where each stage writes its files, in a subfolder of its number."""
    stages: tuple[Schedule, ...]
    """Run one after the other, each from the best weights of the one before."""
    elements: tuple[int, ...] = (1, 6, 7, 8, 9)
    settings: HELMSettings = field(default_factory=HELMSettings)
    level: LevelOfTheory = field(default_factory=LevelOfTheory)
    baseline: Baseline = field(default_factory=Baseline)
    start: str | None = None
    """Checkpoint (name or path) whose weights to start from."""
    workers: int = 1
    seed: int = 0
    limit: int | None = None
    """Use only so many molecules of each split (for tests)."""


def build_model(recipe: Recipe, samples: Sequence[Sample]) -> HELM:
    """New model with references and scales from the training set, or the weights to start from.

    Raises
    ------
    SettingError
        If the settings name charges or multiplicities that the labels do not hold, or the checkpoint to
        start from does not fit the recipe.
    """
    _check_states(recipe.settings, samples)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = HELM(ao_basis(recipe.level.basis, recipe.elements), recipe.settings)
    if recipe.start is not None:
        start = load_model(recipe.start)
        theirs = start.basis, start.model.settings, start.level
        if theirs != (model.basis, model.settings, recipe.level):
            raise SettingError(
                f"checkpoint {start.name!r} has another basis, architecture or level than the recipe"
            )
        model.load_state_dict(start.model.state_dict())
        return model
    fit_energy_references(model, samples)
    fit_block_scales(model, samples)
    return model


def _check_states(settings: HELMSettings, samples: Sequence[Sample]) -> None:
    """Refuse settings that name a state without labels, and labels of a state that they do not name."""
    for name in ("charge", "multiplicity"):
        seen = {int(getattr(s.graph, name)) for s in samples}
        named = set(settings.charges if name == "charge" else settings.multiplicities)
        if seen and seen != named:
            raise SettingError(
                f"the labels hold {name} {sorted(seen)}, the settings name {sorted(named)}: a model "
                "must claim what it saw, and no more"
            )


def load_split(recipe: Recipe, split: str) -> MoleculeDataset:
    """Samples of one split; H0 is cached in the recipe's folder."""
    backbone = recipe.settings.backbone
    cutoff = max(backbone.cutoff, backbone.pair_cutoff)
    return open_dataset(
        recipe.data,
        split,
        recipe.level,
        recipe.limit,
        baseline=recipe.baseline,
        cutoff=cutoff,
        cache=recipe.folder,
    )


def fingerprint(recipe: Recipe) -> str:
    """What a run must share with the one it resumes: everything but folder and number of workers."""
    return repr(replace(recipe, folder="", workers=1)) + file_sha256(recipe.data)


def run(recipe: Recipe) -> None:
    """Train; resumes where an interrupted run of the same folder stopped."""
    train, validation = load_split(recipe, "train"), load_split(recipe, "val")
    model = build_model(recipe, train)
    if recipe.workers == 1:
        _work(0, recipe, model, train, validation, "")
        return
    context = mp.get_context("fork")
    address = f"tcp://127.0.0.1:{_free_port()}"
    processes = [
        context.Process(target=_work, args=(rank, recipe, model, train, validation, address))
        for rank in range(recipe.workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"a training worker failed: exit codes {[p.exitcode for p in processes]}")


def _work(
    rank: int,
    recipe: Recipe,
    model: HELM,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    address: str,
) -> None:
    if recipe.workers > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=recipe.workers)
    for k, stage in enumerate(recipe.stages):
        folder = Path(recipe.folder) / str(k)
        trainer = Trainer(model, train, validation, stage, folder, rank, recipe.workers, fingerprint(recipe))
        trainer.resume()
        trainer.fit()
        if recipe.workers > 1:
            dist.barrier()
    if recipe.workers > 1:
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
