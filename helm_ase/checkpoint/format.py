"""Format of checkpoints: one safetensors file with weights and a JSON header that describes them.

Nothing is ever unpickled.  The header holds, under the key ``helm_ase``, the format version, the
architecture, the basis, the level of theory, the baseline, units and AO order, what was seen in training,
and the errors measured on the validation set.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from helm_ase.checkpoint.bounds import HEADER_BYTES, bounded_allocation, check_consistency, check_keys
from helm_ase.checkpoint.knowledge import EVERYTHING, Knowledge
from helm_ase.checkpoint.uncertainty import EnergyUncertainty, read_uncertainty, uncertainty_path
from helm_ase.errors import CheckpointError
from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.nn.hamiltonian_head import HamiltonianHead
from helm_ase.nn.unseen_pairs import estimate_unseen_scales
from helm_ase.qc.level import Baseline, LevelOfTheory
from helm_ase.representation.basis import AOBasis
from helm_ase.representation.bonding import BondCoverage
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.ordering import CANONICAL
from helm_ase.system.atomic_write import whole_file
from helm_ase.system.torch_state import own_torch_state

FORMAT_VERSION = 2
HEADER_KEY = "helm_ase"
UNITS = {"length": "angstrom", "energy": "eV", "forces": "eV/angstrom", "hamiltonian": "hartree"}

_NOT_A_MODEL = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, SafetensorError, TypeError,
    ValueError,
)  # fmt: skip
"""Exceptions that may occur when a model is built from a damaged file."""


BACKBONE_BEFORE = {"state_heads": 0, "pair_decay_length": 0.0}
"""Settings of the backbone that came with format 2 → what the network did before; not their defaults."""


def _to_second_format(header: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a header of format 1, in which charge and multiplicity are added to every atom as one vector,
    blocks are not damped with distance, and there is no energy baseline."""
    settings = dict(header["settings"])
    settings["backbone"] = dict(settings["backbone"]) | BACKBONE_BEFORE
    return header | {"settings": settings, "energy_baseline": {"name": "none"}, "format_version": 2}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _to_second_format}
"""Version n → function that turns a header of version n into one of version n + 1."""


@dataclass(frozen=True)
class Checkpoint:
    """A model and everything needed to use it correctly."""

    name: str
    """Immutable name of the model."""
    model: HELM
    """The network with its weights."""
    level: LevelOfTheory
    """Level of theory of the labels that the model was trained on."""
    baseline: Baseline
    """H0 to which the model's correction must be added."""
    coverage: DistanceCoverage
    """Distances of pairs of elements that occurred in training."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Record of the training: checksums of the data, number of molecules, recipe."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Validation errors when the file was written."""
    sha256: str = ""
    """SHA-256 of the file that the checkpoint was read from."""
    energy_baseline: EnergyBaseline = field(default_factory=EnergyBaseline)
    """E0 to which the model's energies and forces must be added."""
    uncertainty: EnergyUncertainty | None = None
    """Error bar of energies; None if the model has none."""

    @property
    def basis(self) -> AOBasis:
        """Shells of every element."""
        return self.model.basis

    @property
    def bonding(self) -> BondCoverage | None:
        """Bonds that occurred in training, from the error-bar file, which is the later one, or the header;
        None if not recorded."""
        beside = None if self.uncertainty is None else self.uncertainty.bonding
        return beside or self.coverage.bonding

    @property
    def knows(self) -> Knowledge:
        """Systems and quantities that the model supports."""
        known, settings = self.model.basis.elements, self.model.settings
        return Knowledge(known, settings.charges, settings.multiplicities, self.predicts, self.dimensions)

    @property
    def predicts(self) -> frozenset[str]:
        """Quantities of ``energy``, ``forces`` and ``hamiltonian`` that the model was trained to predict."""
        return frozenset(self.training.get("predicts", EVERYTHING))

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Numbers of periodic directions that occurred in training: 0 molecules, …, 3 bulk."""
        return tuple(self.training.get("dimensions", (0,)))


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> str:
    """Write a checkpoint; the file appears complete or not at all.

    Returns
    -------
    str
        SHA-256 of the file.
    """
    target = Path(path)
    tensors = {
        k: v.detach().cpu().contiguous() for k, v in checkpoint.model.state_dict().items() if v.numel()
    }
    header = json.dumps(_header(checkpoint), sort_keys=True)
    with whole_file(target) as partial:
        try:
            save_file(tensors, partial, metadata={HEADER_KEY: header})
        except SafetensorError as error:  # what the disk says comes as text
            raise CheckpointError(f"{target} cannot be written: {error}") from error
    return file_sha256(target)


def _header(checkpoint: Checkpoint) -> dict[str, Any]:
    basis, settings = checkpoint.basis, checkpoint.model.settings
    return {
        "format_version": FORMAT_VERSION,
        "name": checkpoint.name,
        "settings": asdict(settings),
        "basis": {
            "name": basis.name,
            "shells": {str(z): list(s) for z, s in basis.shells.items()},
            "core_electrons": {str(z): n for z, n in basis.core_electrons.items()},
        },
        "level": asdict(checkpoint.level),
        "baseline": _plain_baseline(checkpoint.baseline),
        "energy_baseline": checkpoint.energy_baseline.to_json(),
        "elements": list(basis.elements),
        "charges": list(settings.charges),
        "multiplicities": list(settings.multiplicities),
        "units": UNITS,
        "ao_order": CANONICAL,
        "coverage": checkpoint.coverage.to_json(),
        "training": dict(checkpoint.training),
        "metrics": dict(checkpoint.metrics),
    }


def _plain_baseline(baseline: Baseline) -> dict[str, Any]:
    plain = {k: v for k, v in asdict(baseline).items() if v != () and (k, v) != ("spins", False)}
    if baseline.operators:
        plain["operators"] = [operator.to_json() for operator in baseline.operators]
    return plain


def read_header(path: str | Path) -> dict[str, Any]:
    """Header of a checkpoint, upgraded to the current format, without its weights.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, no checkpoint, or newer than this version of helm_ase.
    """
    try:
        with safe_open(path, framework="pt") as file:
            raw = (file.metadata() or {}).get(HEADER_KEY)
        if raw is not None and len(raw) > HEADER_BYTES:
            raise CheckpointError(f"{path} has a header of {len(raw)} bytes; {HEADER_BYTES} are allowed")
        header = json.loads(raw) if raw is not None else None
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint at {path}") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    if not isinstance(header, dict) or not isinstance(header.get("format_version"), int):
        raise CheckpointError(f"{path} is a safetensors file but not a helm_ase checkpoint")
    if header["format_version"] < 1:
        raise CheckpointError(f"{path} has format {header['format_version']}, which never existed")
    if header["format_version"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {header['format_version']}, newer than {FORMAT_VERSION}: upgrade helm-ase"
        )
    try:
        while header["format_version"] < FORMAT_VERSION:
            header = UPGRADES[header["format_version"]](header)
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the header is damaged: {error!r}") from error
    check_keys(path, header)
    return header


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; the model is in evaluation mode, float32, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is damaged, no checkpoint, or its weights do not fit its header.
    """
    header = read_header(path)
    with own_torch_state(), torch.inference_mode(False):  # inference tensors could not give forces later
        return _read(path, header)


def _read(path: str | Path, header: dict[str, Any]) -> Checkpoint:
    try:
        if header["units"] != UNITS or header["ao_order"] != CANONICAL:
            raise ValueError(f"units {header['units']} in AO order {header['ao_order']!r} are not known")
        check_consistency(header)
        settings = dict(header["settings"])
        settings["backbone"] = BackboneSettings(**settings["backbone"])
        settings |= {k: tuple(settings[k]) for k in ("charges", "multiplicities")}
        shells = {int(z): tuple(s) for z, s in header["basis"]["shells"].items()}
        cores = {int(z): int(n) for z, n in header["basis"]["core_electrons"].items()}
        with bounded_allocation(path):
            model = _empty_model(AOBasis(header["basis"]["name"], shells, cores), HELMSettings(**settings))
        with safe_open(path, framework="pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        _load_weights(model, weights)
        level, baseline = LevelOfTheory(**header["level"]), Baseline(**header["baseline"])
        e0 = EnergyBaseline(**header["energy_baseline"])
        coverage = DistanceCoverage.from_json(header["coverage"])
        name, training, metrics = str(header["name"]), dict(header["training"]), dict(header["metrics"])
    except _NOT_A_MODEL as error:
        raise CheckpointError(f"{path}: header and weights do not make a model: {error!r}") from error
    sha256, beside = file_sha256(path), uncertainty_path(path)
    error_bar = read_uncertainty(beside, sha256) if beside.is_file() else None
    return Checkpoint(name, model, level, baseline, coverage, training, metrics, sha256, e0, error_bar)


def _empty_model(basis: AOBasis, settings: HELMSettings) -> HELM:
    with torch.random.fork_rng(devices=[]):
        model = HELM(basis, settings)
    return model.eval().requires_grad_(False)


def _load_weights(model: HELM, weights: dict[str, torch.Tensor]) -> None:
    expected = {k: v for k, v in model.state_dict().items() if v.numel()}
    if set(expected) != set(weights):
        missing, extra = sorted(set(expected) - set(weights))[:3], sorted(set(weights) - set(expected))[:3]
        raise ValueError(f"missing weights {missing}, unexpected weights {extra}")
    odd = [k for k, v in weights.items() if v.dtype != expected[k].dtype or v.shape != expected[k].shape]
    if odd:
        raise ValueError(f"weights of another type or shape: {odd[:3]}")
    bad = [k for k, v in weights.items() if not torch.isfinite(v).all()]
    if bad:
        raise ValueError(f"weights that are not finite: {bad[:3]}")
    model.load_state_dict(weights, strict=False)
    for head in model.hamiltonian_heads:
        assert isinstance(head, HamiltonianHead)
        estimate_unseen_scales(head)  # models trained before scales of unseen pairs were estimated lack them


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
