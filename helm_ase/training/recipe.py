"""What defines a training run: data, network, stages, machine.  Plain records; nothing here computes.

Every field's default and meaning stand together, and ``helm-ase train --print-defaults`` prints both.
"""

import re
from dataclasses import dataclass, field, fields
from typing import Literal

from helm_ase.errors import SettingError
from helm_ase.nn import HELMSettings
from helm_ase.qc.level import Baseline
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.level import LevelOfTheory
from helm_ase.training.losses import LossWeights

SchemeName = Literal["direct", "hamiltonian", "frozen", "finetune", "edges", "joint"]
PartName = Literal["energy", "hamiltonian"]


def check_range(record: object, names: tuple[str, ...], least: float, most: float = float("inf")) -> None:
    """Refuse numbers out of range; None is no number.

    Raises
    ------
    SettingError
        Naming the first one.
    """
    for name in names:
        value = getattr(record, name)
        if value is not None and not least <= value <= most:
            upper = "" if most == float("inf") else f" and at most {most:g}"
            raise SettingError(f"{name} is {value}; it must be at least {least:g}{upper}")


@dataclass(frozen=True)
class DataSettings:
    """Labels to learn from and to select by; all files at one level of theory."""

    train: tuple[str, ...] = ("labels.h5",)
    """Files whose entries of the split ``train_split`` are learnt from; relative to the recipe."""
    validation: tuple[str, ...] = ()
    """Files whose entries of the split ``validation_split`` select the best weights; empty: as ``train``."""
    train_split: str = "train"
    """Name of a split in the files."""
    validation_split: str = "val"
    """Name of a split in the files."""
    train_limit: int | None = None
    """Only so many molecules, drawn at random; the smaller draw is part of the larger one."""
    validation_limit: int | None = None
    """As ``train_limit``."""
    draw_seed: int = 0
    """Of these draws."""
    level: LevelOfTheory | None = None
    """Of labels in files that do not say; files that do must have it."""
    baseline: Baseline = field(default_factory=Baseline)
    """H0, to which the network adds."""
    energy_baseline: EnergyBaseline = field(default_factory=EnergyBaseline)
    """E0, to which the network adds energies and forces; its charges of the atoms serve H0."""
    model_basis: str | None = None
    """Basis of the predicted matrix where it is a smaller one than that of the labels ('upscaling')."""
    coupled_polarizability: bool = False
    """Aim at the labels' coupled (physical) polarizability where they have one, not at the uncoupled one."""
    in_memory: bool = True
    """Keep samples once read; otherwise they are read from disk every time."""
    loaders: int = 0
    """Processes that prepare batches; 0: the training process does."""
    resident: bool = False
    """Keep the training set on the device and put batches together there; for GPUs, and losses without
    observables."""
    processes: int = 1
    """Processes that compute baselines, overlaps and orbitals before the first step."""
    cache: str | None = None
    """Folder for H0, overlap and reference orbitals; absent: the run's."""

    def __post_init__(self) -> None:
        check_range(self, ("train_limit", "validation_limit", "processes"), 1)
        check_range(self, ("loaders", "draw_seed"), 0)
        if self.baseline.charges and not self.energy_baseline:
            raise SettingError(
                "baseline.charges needs the atomic charges of an energy_baseline, but that is 'none'"
            )


@dataclass(frozen=True)
class OptimiserSettings:
    """Steps from gradients."""

    name: Literal["adamw", "muon"] = "adamw"
    """``muon`` orthogonalises the update of every matrix and leaves the rest to AdamW."""
    learning_rate: float = 2e-3
    """Largest one, of AdamW's parameters."""
    muon_rate: float = 1e-2
    """Largest one, of Muon's."""
    muon_rows: int | None = None
    """Muon turns matrices larger than this in both directions in parts of at most so many rows; absent:
    whole."""
    weight_decay: float = 1e-4
    """Decoupled."""
    clip: float = 10.0
    """Largest norm of a gradient; steps with one that is not finite are left out."""
    averaging: float = 0.998
    """Decay of the exponential average of the weights, with which the model is validated and saved."""

    def __post_init__(self) -> None:
        check_range(self, ("learning_rate", "muon_rate", "weight_decay"), 0)
        check_range(self, ("muon_rows",), 16)
        check_range(self, ("averaging",), 0, 1)
        if not self.clip > 0:
            raise SettingError(f"clip is {self.clip}; it must be positive")


@dataclass(frozen=True)
class RateSettings:
    """Learning rate over a stage, as a fraction of the largest one."""

    shape: Literal["cosine", "plateau"] = "cosine"
    """``cosine`` to the end of the stage, or halving when validation no longer improves."""
    warmup_steps: int = 100
    """Linear, from zero."""
    final_fraction: float = 0.01
    """Where the cosine ends; below it a plateau ends the stage."""
    patience: int = 5
    """Validations without improvement before a plateau lowers the rate."""
    factor: float = 0.5
    """By which it does."""

    def __post_init__(self) -> None:
        check_range(self, ("warmup_steps", "patience"), 0)
        check_range(self, ("final_fraction", "factor"), 0, 1)


@dataclass(frozen=True)
class Stage:
    """One run of the optimiser; begins with the best weights of the stage before."""

    scheme: SchemeName = "joint"
    """What is learnt and which weights move: see ``helm_ase.training.schemes``."""
    weights: LossWeights | None = None
    """Of the loss terms; absent: the scheme's."""
    late_weights: LossWeights | None = None
    """At the end; the weights move there linearly over the middle half of the stage."""
    epochs: int = 100
    """Limit; the learning rate reaches its end at whichever limit comes first."""
    minutes: float | None = None
    """Limit by the clock.  Without it a run repeats to the last digit."""
    clock: Literal["wall", "cpu"] = "wall"
    """Which: that on the wall, or the processor time of the training process."""
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    rate: RateSettings = field(default_factory=RateSettings)
    backbone_rate: float | None = None
    """Rate of what was pretrained, relative to that of the rest; absent: the scheme's."""
    batch_load: int = 400
    """Pairs and atoms in a batch, over all devices."""
    epoch_batches: int | None = None
    """An epoch is at most so many batches; absent: all."""
    validate_every: int = 1
    """Epochs."""
    save_every: int = 1
    """Epochs between two states from which an interrupted run goes on."""
    keep: Literal["best", "last"] = "best"
    """Weights that come out: of the lowest validation loss, or of the last validation, whatever it says."""

    def weights_at(self, progress: float) -> LossWeights:
        """Loss weights at a fraction of the stage: the first until ¼, the last from ¾, linear in between."""
        first = self.weights or LossWeights()
        if self.late_weights is None:
            return first
        t = min(max(2 * progress - 0.5, 0.0), 1.0)
        names = [f.name for f in fields(LossWeights)]
        mixed = {k: (1 - t) * getattr(first, k) + t * getattr(self.late_weights, k) for k in names}
        return LossWeights(**mixed)

    def __post_init__(self) -> None:
        check_range(self, ("epochs", "batch_load", "validate_every", "epoch_batches", "save_every"), 1)
        check_range(self, ("backbone_rate",), 0)
        if self.minutes is not None and self.minutes <= 0:
            raise SettingError(f"minutes is {self.minutes}; leave it out for no limit")


@dataclass(frozen=True)
class Compute:
    """Where to run; the names are Lightning's."""

    accelerator: str = "cpu"
    """``cpu``, ``gpu``, ``auto``, …"""
    devices: int = 1
    """Processes on this machine; the batch is divided among them, so the result does not change."""
    nodes: int = 1
    """Machines, under Slurm or torchrun."""
    strategy: str = "auto"
    """``auto``: data-parallel if there is more than one process."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    """Of the network; energies and functions of the Hamiltonian are always in double precision."""
    products: Literal["highest", "high"] = "highest"
    """Precision of matrix products in single precision: ``high`` lets a GPU round their factors to 11 bits
    (TF32), which makes them several times faster."""
    progress_bar: bool = True
    """Show one."""

    def __post_init__(self) -> None:
        check_range(self, ("devices", "nodes"), 1)


@dataclass(frozen=True)
class Recipe:
    """A training run."""

    data: DataSettings = field(default_factory=DataSettings)
    stages: tuple[Stage, ...] = (Stage(),)
    folder: str = "run"
    """Where everything is written; relative to the recipe."""
    name: str = "model"
    """Of the checkpoint that comes out, FOLDER/NAME.safetensors."""
    model: HELMSettings | None = None
    """Network; absent: that of ``start``, or the default one."""
    start: str | None = None
    """Checkpoint (name, file or address) whose weights to begin with."""
    renew: tuple[PartName, ...] = ()
    """Heads that do not take over the weights of ``start``."""
    elements: tuple[int, ...] = ()
    """Atomic numbers that the network can take; empty: those of the labels, or of ``start``."""
    seed: int = 0
    """Of the first weights and of the order of batches."""
    compute: Compute = field(default_factory=Compute)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^/\\\x00-\x1f]+", self.name.strip()) or self.name.startswith("."):
            raise SettingError(f"name is {self.name!r}; it must be a file name without folders, not empty")
        if not self.stages:
            raise SettingError("a recipe needs at least one stage")
        if self.renew and self.start is None:
            raise SettingError("renew names heads that do not take over the weights of start; there is none")
