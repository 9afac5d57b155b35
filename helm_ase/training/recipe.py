"""Recipe of a training run: data, network, stages, machine. Plain records; nothing here computes.

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
    """Refuse numbers out of range; None is accepted.

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
    """Label files for training and validation, all at one level of theory, and how they are prepared."""

    train: tuple[str, ...] = ("labels.h5",)
    """Label files to train on; of their entries, those of the split ``train_split`` are used. Relative paths
    are relative to the folder of the recipe."""
    validation: tuple[str, ...] = ()
    """Label files whose entries of the split ``validation_split`` are used to validate the network and to
    select the best weights. If the list is empty, the files of ``train`` are used."""
    train_split: str = "train"
    """Name that the training set has in the label files."""
    validation_split: str = "val"
    """Name that the validation set has in the label files."""
    train_limit: int | None = None
    """Largest number of molecules to train on, drawn at random; a smaller number gives a subset of a larger
    one. If it is null, all are used."""
    validation_limit: int | None = None
    """Largest number of molecules to validate on, drawn in the same way. If it is null, all are used."""
    draw_seed: int = 0
    """Seed of the random choice that ``train_limit`` and ``validation_limit`` make."""
    level: LevelOfTheory | None = None
    """Level of theory of label files that do not state one. Files that state one must agree with it."""
    baseline: Baseline | None = None
    """Baseline Hamiltonian H0, to which the network adds its correction ΔH. If it is null, it is that of the
    checkpoint to start from, or else ``minao``."""
    energy_baseline: EnergyBaseline | None = None
    """Energy baseline E0, to which the network adds its own energies and forces. Its atomic charges
    and spin densities also serve a baseline H0 that responds to them. If it is null, it is that of the
    checkpoint to start from, or else ``none``."""
    energy_parameters: str | None = None
    """File with parameters of the energy baseline that were fitted to labels, as
    ``examples/train/fit_energy_baseline.py`` writes it. If it is null, they are those of the checkpoint to
    start from, or the published ones."""
    model_basis: str | None = None
    """Basis of the predicted Hamiltonian if it is smaller than that of the labels: the network then learns an
    effective matrix with the orbital energies of the larger basis."""
    coupled_polarizability: bool = False
    """Whether the loss on polarizabilities compares with the coupled (physical) polarizability, where the
    labels contain it, instead of the uncoupled one."""
    in_memory: bool = True
    """Whether samples stay in memory once they have been read. If not, they are read from disk in every
    epoch."""
    loaders: int = 0
    """Number of processes that prepare batches beside training; with 0 the training process prepares them
    itself."""
    resident: bool = False
    """Whether the whole training set is kept in the memory of the device and batches are assembled there,
    which is faster on GPUs. It cannot be combined with the losses ``lowdin``, ``levels``, ``gap``,
    ``density``, ``dipole``, ``polarizability``, ``charges`` and ``bond_orders``."""
    processes: int = 1
    """Number of processes that compute baselines, overlap matrices and reference orbitals before the first
    step."""
    cache: str | None = None
    """Folder in which baselines, overlap matrices and reference orbitals are kept for later runs. If it is
    null, they are kept in the folder of the run."""

    def __post_init__(self) -> None:
        check_range(self, ("train_limit", "validation_limit", "processes"), 1)
        check_range(self, ("loaders", "draw_seed"), 0)
        for name, needed in (("charges", "atomic charges"), ("spins", "spin densities")):
            if getattr(self.baseline, name, False) and not self.energy_baseline:
                raise SettingError(
                    f"baseline.{name} needs the {needed} of an energy_baseline, but that is 'none'"
                )
        if self.energy_parameters and (not self.energy_baseline or self.energy_baseline.parameters):
            raise SettingError(
                "energy_parameters fills in the parameters of an energy_baseline, but that "
                + ("has parameters of its own" if self.energy_baseline else "is 'none'")
            )

    @property
    def h0(self) -> Baseline:
        """The baseline Hamiltonian, also where the recipe leaves it open and starts from nothing."""
        return self.baseline or Baseline()

    @property
    def e0(self) -> EnergyBaseline:
        """The energy baseline, likewise."""
        return self.energy_baseline or EnergyBaseline()


@dataclass(frozen=True)
class OptimiserSettings:
    """Settings of the optimiser."""

    name: Literal["adamw", "muon"] = "adamw"
    """Optimiser: ``adamw``, or ``muon``, which orthogonalises the updates of matrices and leaves all other
    parameters to AdamW."""
    learning_rate: float = 2e-3
    """Largest learning rate of the parameters that AdamW updates."""
    muon_rate: float = 1e-2
    """Largest learning rate of the matrices that Muon updates."""
    muon_rows: int | None = None
    """Largest number of rows that Muon orthogonalises at once; matrices larger than this in both directions
    are divided. If it is null, every matrix is treated as a whole."""
    weight_decay: float = 1e-4
    """Decoupled weight decay, as in AdamW: the fraction of a weight that a step at learning rate 1 would
    remove."""
    clip: float = 10.0
    """Largest norm of the gradient; larger gradients are scaled down to it, and steps whose gradient is not
    finite are skipped."""
    averaging: float = 0.998
    """Decay of the exponential moving average of the weights. The averaged weights are the ones that are
    validated and saved."""

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
    """Schedule of the learning rate: ``cosine`` decays to the end of the stage, ``plateau`` lowers the rate
    whenever validation no longer improves."""
    warmup_steps: int = 100
    """Number of steps over which the learning rate rises linearly from zero."""
    final_fraction: float = 0.01
    """Final learning rate as a fraction of the largest: the cosine ends there, and a plateau schedule ends
    the stage once its rate falls below it."""
    patience: int = 5
    """Number of validations without improvement after which a plateau schedule lowers the rate."""
    factor: float = 0.5
    """Factor by which a plateau schedule multiplies the rate."""

    def __post_init__(self) -> None:
        check_range(self, ("warmup_steps", "patience"), 0)
        check_range(self, ("final_fraction", "factor"), 0, 1)


@dataclass(frozen=True)
class Stage:
    """Stage of a training run, which begins with the weights that the stage before it passed on."""

    scheme: SchemeName = "joint"
    """Training scheme. ``direct`` learns energies, ``hamiltonian`` Hamiltonians and ``joint`` both, each
    with all weights that they depend on; ``frozen`` learns energies with the energy head only, ``edges``
    Hamiltonians without changing the features of atoms, and ``finetune`` energies with a lower learning rate
    for everything but the energy head."""
    weights: LossWeights | None = None
    """Weights of the terms of the loss. If it is null, those of the scheme are used; otherwise, terms that
    are not named have weight 0."""
    late_weights: LossWeights | None = None
    """Weights of the terms of the loss at the end of the stage: over the middle half of the stage, the
    weights change linearly from ``weights`` to these. If it is null, the weights stay constant."""
    epochs: int = 100
    """Largest number of epochs. The schedule of the learning rate ends at whichever limit comes first, this
    one or ``minutes``."""
    minutes: float | None = None
    """Largest duration of the stage in minutes; if it is null, there is no limit. Only runs without this
    limit are exactly reproducible."""
    clock: Literal["wall", "cpu"] = "wall"
    """Clock for ``minutes``: ``wall`` counts elapsed time, ``cpu`` the processor time of the training
    process."""
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    """Optimiser, its learning rates, and the averaging of the weights."""
    rate: RateSettings = field(default_factory=RateSettings)
    """Schedule of the learning rate over the stage."""
    backbone_rate: float | None = None
    """Learning rate of everything but the energy head, relative to that of the energy head. If it is null,
    the scheme decides: 0.3 with ``finetune``, otherwise 1."""
    batch_load: int = 400
    """Size of a batch, summed over all devices and counted in atoms plus pairs of atoms, to which time and
    memory are proportional."""
    epoch_batches: int | None = None
    """Largest number of batches in an epoch; if it is null, an epoch is the whole training set."""
    validate_every: int = 1
    """Number of epochs between two validations."""
    save_every: int = 1
    """Number of epochs after which the state of the run is saved, from which an interrupted run continues."""
    keep: Literal["best", "last"] = "best"
    """Which weights the stage passes on: ``best`` are those of the lowest validation loss, ``last`` those of
    the last validation."""

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
    """Devices and processes; the names are Lightning's."""

    accelerator: str = "cpu"
    """Kind of device as Lightning names it: ``cpu``, ``gpu``, ``auto`` and others."""
    devices: int = 1
    """Number of devices, with one process each, on this machine. Every batch is divided among them, so that
    their number does not change the result."""
    nodes: int = 1
    """Number of machines, started by Slurm or torchrun."""
    strategy: str = "auto"
    """Lightning's strategy for several processes; ``auto`` trains data-parallel if there is more than one."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    """Floating-point precision of the network, as Lightning names it. Total energies, and everything that is
    computed from the Hamiltonian, are always in double precision."""
    products: Literal["highest", "high"] = "highest"
    """How exactly matrices in single precision are multiplied: ``high`` lets a GPU round the factors to 11
    bits (TF32), which makes products several times faster; ``highest`` does not."""
    progress_bar: bool = True
    """Whether a progress bar is shown."""

    def __post_init__(self) -> None:
        check_range(self, ("devices", "nodes"), 1)


@dataclass(frozen=True)
class Recipe:
    """Description of a training run."""

    data: DataSettings = field(default_factory=DataSettings)
    """Labels (DFT results) to train on, and the baselines that are subtracted from them."""
    stages: tuple[Stage, ...] = (Stage(),)
    """Stages of the training, one after another; each begins with the weights that the stage before it
    passed on."""
    folder: str = "run"
    """Folder for everything that the run writes. A relative path is relative to the folder of the recipe."""
    name: str = "model"
    """Name of the resulting checkpoint, the file with the trained network, which is written to
    FOLDER/NAME.safetensors."""
    model: HELMSettings | None = None
    """Architecture of the network. If it is null, it is that of the checkpoint ``start``; without ``start``,
    the one shown here."""
    start: str | None = None
    """Checkpoint (name, path or URL) from whose weights the training starts. If it is null, it starts from
    random weights."""
    renew: tuple[PartName, ...] = ()
    """Heads (``energy``, ``hamiltonian``) that start from random weights instead of those of ``start``."""
    elements: tuple[int, ...] = ()
    """Atomic numbers of the elements that the model supports. If the list is empty, they are those of the
    labels; with ``start``, those of that checkpoint."""
    seed: int = 0
    """Seed of the random initial weights and of the order of batches."""
    compute: Compute = field(default_factory=Compute)
    """Devices, processes and floating-point precision."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^/\\\x00-\x1f]+", self.name.strip()) or self.name.startswith("."):
            raise SettingError(f"name is {self.name!r}; it must be a file name without folders, not empty")
        if not self.stages:
            raise SettingError("a recipe needs at least one stage")
        if self.renew and self.start is None:
            raise SettingError("renew names heads that do not take over the weights of start; there is none")
