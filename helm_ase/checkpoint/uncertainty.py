"""Error bar of a model, stored in a file of its own beside the checkpoint.

The checkpoint of a published model never changes, but its error bar can be made or improved later.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from helm_ase.errors import CheckpointError
from helm_ase.representation.bonding import BondCoverage
from helm_ase.system.atomic_write import whole_file

SUFFIX = ".uncertainty.safetensors"
HEADER_KEY = "helm_ase_uncertainty"
FORMAT_VERSION = 2
SELF_CONSISTENCY = "self-consistency"
"""Key of the facts that say how far predicted Hamiltonians usually are from self-consistency."""
BONDS = "bonds"
"""Key of the facts that lists the kinds of bonds in the training set of a model of crystals."""
UNITS = "units"
"""Key of the facts that lists, of each kind of atom, the largest distance from training in validation."""
AT_ONCE = 64
"""Atoms whose distances from the training set are computed at once."""


@dataclass(frozen=True)
class EnergyUncertainty:
    """Error bar of energies, from the last hidden layer of the energy head.

    With the features f of atoms, and W that scales their principal axes over the training set to a variance
    of one, the expected square error of the energy per atom is

        u² = a² ⟨min_t |W (f − f_t)|³⟩^⅔ + ⟨r_t²⟩ + b²,

    where t are atoms of the training set and ⟨…⟩ is the mean over the atoms of a molecule: the distance from
    the training set in the space of features (Janet et al., Chem. Sci. 10, 7913, 2019), squared as a variance
    is.  By the third power, one strange atom among many ordinary ones is not averaged away.  r_t is the error
    of the model on the training molecules around the nearest atom t of the same charge and multiplicity: what
    was not learnt although it was seen is not known either.

    For a model of crystals that predicts no energies there are no errors: a and b mean nothing, the threshold
    is a number without unit, and ``facts`` hold the kinds of bonds in training and, for each kind of atom,
    the largest distance in the validation set (:mod:`helm_ase.checkpoint.environments`).
    """

    model_sha256: str
    """Checksum of the checkpoint it belongs to."""
    whitening: Tensor
    """W, (D, F), float64."""
    scale: float
    """Scale a of the error bar, eV/atom."""
    floor: float
    """Floor b of the error bar, eV/atom: its value where training data are dense."""
    threshold: float
    """eV/atom; where u is larger, the model's answer is extrapolation."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Record of the calibration: numbers of molecules, correlations, shares of flagged molecules; JSON
    values."""
    bonding: BondCoverage | None = None
    """Bonds that occurred in training; they stand in for those of the checkpoint's header."""
    known: Tensor | None = None
    """W f_t of the training set, (T, D).  None in files of format 1, with WᵀW = (C + s)⁻¹: there stands, in
    place of the distance, the prediction rigidity N |W f|² of the mean f over the N atoms of a molecule (Bigi
    et al., Mach. Learn.: Sci. Technol. 5, 045018, 2024), C being the second moments of such means."""
    residuals: Tensor | None = None
    """r_t of the atoms in ``known``, eV/atom, (T,); None where they were not recorded."""
    known_states: Tensor | None = None
    """Charge and multiplicity of the molecules they are of, (T, 2), with ``residuals``."""
    metric: Tensor | None = None
    """V with VᵀV = (C + s)⁻¹ and these moments C, by which structures are compared, (F, F), float64; None in
    files of format 1, where it is W."""

    def novelty(self, features: Tensor, atoms: Tensor) -> Tensor:
        """⟨min_t |W (f − f_t)|³⟩^⅔ of molecules.

        Parameters
        ----------
        features
            f of the atoms of all molecules, one after another, (N, F).
        atoms
            Numbers of atoms, (B,).

        Returns
        -------
        Tensor
            (B,), float64.
        """
        return self._compare(features, atoms)[0]

    def distances(self, features: Tensor) -> Tensor:
        """min_t |W (f − f_t)| of atoms with features f, (N, F), float64, (N,); of files of format 2."""
        white = features.double().cpu() @ self.whitening.T
        rows = white.split(AT_ONCE)
        return torch.cat([self._nearest(x, None)[0].double() for x in rows]) if len(white) else white[:, 0]

    def misfit(self, features: Tensor, atoms: Tensor, states: Tensor | None = None) -> Tensor:
        """⟨r_t²⟩ of molecules, (eV/atom)², (B,); parameters as in :meth:`per_atom`."""
        return self._compare(features, atoms, states)[1]

    def per_atom(self, features: Tensor, atoms: Tensor, states: Tensor | None = None) -> Tensor:
        """u of molecules, eV/atom, (B,).

        Parameters
        ----------
        features, atoms
            As in :meth:`novelty`.
        states
            Charges and multiplicities, (B, 2): r_t is that of atoms of the same.  None: of any.
        """
        novelty, misfit = self._compare(features, atoms, states)
        return (self.scale**2 * novelty + misfit + self.floor**2).sqrt()

    def _compare(
        self, features: Tensor, atoms: Tensor, states: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Novelty and misfit of molecules."""
        atoms = atoms.cpu()
        owner = torch.arange(len(atoms), device="cpu").repeat_interleave(atoms)  # (N,)
        white = features.double().cpu() @ self.whitening.T  # (N, D)

        def mean(x: Tensor) -> Tensor:
            return x.new_zeros(len(atoms), x.shape[1]).index_add(0, owner, x) / atoms[:, None]

        if self.known is None:
            return mean(white).square().sum(1) * atoms, white.new_zeros(len(atoms))
        of_atoms = None if states is None else states.cpu()[owner]
        distances, residuals = white.new_zeros(len(white)), white.new_zeros(len(white))
        for rows in torch.arange(len(white), device="cpu").split(AT_ONCE):
            own = None if of_atoms is None else of_atoms[rows]
            distances[rows], residuals[rows] = (x.double() for x in self._nearest(white[rows], own))
        return mean(distances.pow(3)[:, None])[:, 0].pow(2 / 3), mean(residuals.square()[:, None])[:, 0]

    def _nearest(self, white: Tensor, states: Tensor | None) -> tuple[Tensor, Tensor]:
        """Distance of atoms, (N, D), from the nearest of training, and r_t of the nearest of their state."""
        assert self.known is not None
        distances = torch.cdist(white.to(self.known.dtype), self.known)  # (N, T)
        residuals = distances.new_zeros(len(white))
        if self.residuals is None:
            return distances.amin(1), residuals
        if states is None or self.known_states is None:
            nearest = distances.min(1)
            return nearest.values, self.residuals[nearest.indices]
        for state in states.unique(dim=0):  # one, unless molecules of several are batched
            rows = (states == state).all(1)
            columns = (self.known_states == state).all(1).nonzero()[:, 0]
            if len(columns):
                own = distances if rows.all() else distances[rows]
                which = own.index_select(1, columns).min(1).indices  # twice as fast as argmin
                residuals[rows] = self.residuals[columns[which]]
        return distances.amin(1), residuals


def uncertainty_path(checkpoint: str | Path) -> Path:
    """Where the error bar of a checkpoint file is kept."""
    path = Path(checkpoint)
    return path.with_name(path.name.removesuffix(".safetensors") + SUFFIX)


def save_uncertainty(uncertainty: EnergyUncertainty, path: str | Path) -> None:
    """Write an error bar to a file, which appears complete or not at all."""
    header = {
        "format_version": FORMAT_VERSION, "model_sha256": uncertainty.model_sha256,
        "scale": uncertainty.scale, "floor": uncertainty.floor, "threshold": uncertainty.threshold,
        "facts": dict(uncertainty.facts),
    }  # fmt: skip
    if uncertainty.bonding is not None:
        header["bonding"] = uncertainty.bonding.to_json()
    with whole_file(Path(path)) as partial:
        tensors = {"whitening": uncertainty.whitening.contiguous()}
        if uncertainty.known is not None:
            tensors["known"] = uncertainty.known.half().contiguous()
        if uncertainty.residuals is not None:
            tensors["residuals"] = uncertainty.residuals.contiguous()
        if uncertainty.known_states is not None:
            tensors["known_states"] = uncertainty.known_states.contiguous()
        if uncertainty.metric is not None:
            tensors["metric"] = uncertainty.metric.contiguous()
        try:
            save_file(tensors, partial, metadata={HEADER_KEY: json.dumps(header, sort_keys=True)})
        except SafetensorError as error:  # what the disk says comes as text
            raise CheckpointError(f"{path} cannot be written: {error}") from error


def read_uncertainty(path: str | Path, model_sha256: str) -> EnergyUncertainty:
    """Read the error bar of a model.

    Raises
    ------
    CheckpointError
        If the file is damaged, of another format, newer than this version, or belongs to other weights.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
            whitening = file.get_tensor("whitening").double()
            known, residuals, states, metric = (
                file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118
                for name in ("known", "residuals", "known_states", "metric")
            )
        if header["format_version"] > FORMAT_VERSION:
            raise CheckpointError(f"{path} has format {header['format_version']}: upgrade helm-ase")
        bonds, facts = header.get("bonding"), dict(header["facts"])
        _check_self_consistency(facts.get(SELF_CONSISTENCY))
        _check_bonds(facts.get(BONDS, []))
        _check_units(facts.get(UNITS))
        uncertainty = EnergyUncertainty(
            str(header["model_sha256"]), whitening, float(header["scale"]), float(header["floor"]),
            float(header["threshold"]), facts,
            None if bonds is None else BondCoverage.from_json(bonds),
            None if known is None else known.float(), residuals, states,
            None if metric is None else metric.double(),
        )  # fmt: skip
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path} is not an error bar of a model: {error!r}") from error
    if uncertainty.model_sha256 != model_sha256:
        raise CheckpointError(
            f"{path} belongs to other weights ({uncertainty.model_sha256[:12]}…, not {model_sha256[:12]}…): "
            "remove it, or replace it with a new one from helm-ase calibrate"
        )
    for tensor in (uncertainty.whitening, uncertainty.known, uncertainty.metric):
        if tensor is not None and (
            tensor.ndim != 2 or not tensor.numel() or not torch.isfinite(tensor).all()
        ):
            raise CheckpointError(f"{path} holds numbers that are not finite, or none")
    if residuals is not None and (
        known is None
        or states is None
        or residuals.shape != known.shape[:1]
        or not torch.isfinite(residuals).all()
        or states.shape != (len(known), 2)
    ):
        raise CheckpointError(f"{path} is damaged: its atoms and their residuals do not fit")
    if uncertainty.known is not None and uncertainty.known.shape[1] != len(uncertainty.whitening):
        raise CheckpointError(f"{path} is damaged: its atoms and axes do not fit")
    return uncertainty


def _check_bonds(found: Any) -> None:
    """Raise ValueError for a list that holds no kinds of bonds."""
    whole = [x for kind in found for x in kind]
    if any(len(kind) != 4 for kind in found) or any(type(x) is not int or x < 0 for x in whole):
        raise ValueError(f"{BONDS} is {str(found)[:200]}")


def _check_units(found: Any) -> None:
    """Raise ValueError for a list that holds no units of kinds of atoms."""
    if found is None:
        return
    kinds, units = [kind for *kind, _ in found], [float(unit) for *_, unit in found]
    whole = all(len(kind) == 3 and all(type(x) is int for x in kind) for kind in kinds)
    if not found or not whole or not all(0 < unit < math.inf for unit in units):
        raise ValueError(f"{UNITS} is {str(found)[:200]}")


def _check_self_consistency(found: Any) -> None:
    """Raise ValueError for facts of self-consistency that are no positive numbers."""
    if found is None:
        return
    values = [found["fock_residual"], found["commutator_norm"]]
    if not all(isinstance(x, float) and 0 < x < math.inf for x in values):
        raise ValueError(f"{SELF_CONSISTENCY} is {found}")
