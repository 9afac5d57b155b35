"""Upscaling of crystals: a Hamiltonian in a small basis that has the bands of a larger one.

A model of the small basis is trained on by bands alone: its matrices become effective ones, whose occupied
levels and lowest conduction bands are those of the larger basis (as in mlelec, arXiv 2504.01187).  Levels of
the labels are known at the points of their own mesh, from F(k) and S(k), and are compared there, so that
nothing passes through an interpolation in the larger basis.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.format import save_checkpoint
from helm_ase.dataset.crystals import fock_in_canonical_order
from helm_ase.electronic.band_levels import levels
from helm_ase.electronic.bloch import LatticeOperator, bloch_sum
from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.crystals import CrystalSource
from helm_ase.nn import HELM
from helm_ase.qc.crystal import build_cell, build_content, crystal_basis
from helm_ase.qc.crystal_baseline import crystal_hamiltonian
from helm_ase.qc.lattice_integrals import lattice_integrals
from helm_ase.representation.graph import AtomicGraph, batch_graphs
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.level import LevelOfTheory
from helm_ase.training.crystal_losses import BAND_UNIT, blocks_of
from helm_ase.training.crystals import CrystalTraining, descend, optimise
from helm_ase.units import HARTREE_IN_EV

MEV = 1000 * HARTREE_IN_EV


@dataclass(frozen=True)
class UpscalingSample:
    """One crystal: operators in the model's basis, levels in the label's."""

    name: str
    graph: AtomicGraph
    baseline: LatticeOperator
    """H0(T) in the basis of the model, Hartree."""
    overlap: LatticeOperator
    """S(T) in the basis of the model."""
    kpts: Tensor
    """Points of the label's mesh, fractional, (K, 3)."""
    levels: Tensor
    """Levels of the label at these points, Hartree, (K, n): occupied ones and ``virtuals`` more."""
    occupied: int
    """Number of occupied levels."""

    @property
    def load(self) -> int:
        """Atoms and pairs: what the network's time goes with."""
        return self.graph.load

    def errors(self, correction: Tensor, chosen: Tensor) -> Tensor:
        """Levels of H0 + ΔH minus those of the label, Hartree, (k, n).

        Parameters
        ----------
        correction
            ΔH(T) of the graph's translations, (n_T, A, A).
        chosen
            Indices of k points, (k,).
        """
        kpts = self.kpts[chosen]
        h = self.baseline.at(kpts) + bloch_sum(self.graph.translation, correction, kpts)
        found = levels(h, self.overlap.at(kpts))[:, : self.levels.shape[1]]
        return found - self.levels[chosen]


@dataclass(frozen=True)
class BandErrors:
    """Mean absolute errors of levels at the points of the labels' meshes, meV."""

    occupied: float
    virtual: float
    """The same of the lowest unoccupied levels, as far as they are compared."""


def upscaling_sample(
    label: LabelledCrystal, level: LevelOfTheory, model: Checkpoint, virtuals: int = 4
) -> UpscalingSample:
    """Turn a label in a larger basis into a sample for a model of a smaller one.

    Parameters
    ----------
    label
        F(k) in PySCF's AO order.
    level
        Level of theory of the label.
    model
        Checkpoint of the smaller basis, whose H0 is kept.
    virtuals
        Unoccupied levels that count.

    Raises
    ------
    SettingError
        If the larger basis is not one, or functional or pseudopotential differ.
    DatasetError
        If the matrices do not fit their basis.
    """
    larger = crystal_basis(level, sorted(set(label.numbers.tolist())))
    electrons = larger.electrons(label.numbers)
    size = model.basis.size(label.numbers)
    _check_levels(level, model.level, larger.size(label.numbers), size)
    cell = build_cell(label.numbers, label.positions, label.lattice, level)
    s = LatticeOperator.of(lattice_integrals(cell, larger, lattice=label.lattice))
    kpts = torch.as_tensor(label.k_mesh.kpts)
    count = min(electrons // 2 + virtuals, size)
    content = build_content(label.numbers, label.positions, model.level)
    h0, overlap = crystal_hamiltonian(content, label.lattice, model.basis, model.baseline.operators)
    cutoff = model.model.cutoff
    return UpscalingSample(
        name=label.name,
        graph=AtomicGraph.from_arrays(label.numbers, label.positions, cutoff, lattice=label.lattice),
        baseline=LatticeOperator.of(h0),
        overlap=LatticeOperator.of(overlap),
        kpts=kpts,
        levels=levels(fock_in_canonical_order(label, larger), s.at(kpts))[:, :count],
        occupied=electrons // 2,
    )


def _check_levels(label: LevelOfTheory, model: LevelOfTheory, larger: int, smaller: int) -> None:
    same = replace(label, basis=model.basis, plane_wave_cutoff=0, grid_level=0, conv_tol=1, code="")
    known = replace(model, plane_wave_cutoff=0, grid_level=0, conv_tol=1, code="")
    if same != known or larger < smaller:
        raise SettingError(
            f"labels of {label.functional}/{label.basis} ({larger} functions) cannot be learnt by a model of "
            f"{model.functional}/{model.basis} ({smaller}): all but the basis must be the same, and the "
            "labels' basis the larger one"
        )


def upscale(
    path: str | Path, start: Checkpoint, output: str | Path, settings: CrystalTraining, progress: bool = False
) -> tuple[Checkpoint, list[dict[str, float]]]:
    """Train a model on the bands of labels in a larger basis.

    Parameters
    ----------
    path
        Labelled crystals in the larger basis; the split ``train`` is learnt, ``val`` measures the result.
    start
        Model of the smaller basis.
    output
        Checkpoint to write.
    settings
        Optimiser, limits, ``k_points`` and ``virtuals``; network and weights of the loss are not looked at.
    progress
        Print the loss now and then.

    Returns
    -------
    checkpoint
        The model, as written.
    history
        Mean error of levels in every epoch, in units of 2 mEh.

    Raises
    ------
    DatasetError
        If the file has no entries to train on.
    SettingError
        See :func:`upscaling_sample`.
    """
    source = CrystalSource(path)
    made = [(x.split, upscaling_sample(x, source.level, start, settings.virtuals)) for x in source]
    train, validation = ([x for split, x in made if split == name] for name in ("train", "val"))
    if not train:
        raise DatasetError(f"{path} has no entries of the split 'train'")
    network = HELM(start.basis, start.model.settings)
    network.load_state_dict(start.model.state_dict())
    network, history = optimise(network, train, settings, _step, progress)
    found = band_errors(network, validation)
    checkpoint = replace(
        start,
        name=settings.name,
        model=network.requires_grad_(False),
        training=dict(start.training) | {"predicts": ["hamiltonian"], "bands_of": source.level.basis},
        metrics={} if found is None else {"val_occupied": found.occupied, "val_virtual": found.virtual},
    )
    save_checkpoint(checkpoint, output)
    return checkpoint, history


def _step(
    model: HELM, samples: Sequence[UpscalingSample], optimiser: torch.optim.Optimizer,
    settings: CrystalTraining, random: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """One batch: mean absolute error of levels at some points of each crystal's mesh."""
    errors = []
    for sample, correction in zip(samples, _corrections(model, samples), strict=True):
        count = min(settings.k_points, len(sample.kpts))
        chosen = torch.from_numpy(random.choice(len(sample.kpts), count, replace=False))
        difference = sample.errors(correction, chosen)
        errors.append(difference[torch.isfinite(difference)].abs().mean() / BAND_UNIT)
    loss = torch.stack(errors).mean()
    descend(model, loss, optimiser, settings)
    return {"bands": float(loss.detach())}


def _corrections(model: HELM, samples: Sequence[UpscalingSample]) -> list[Tensor]:
    """ΔH(T) of every crystal, (n_T, A, A) each, float64."""
    graph = batch_graphs([s.graph for s in samples]).to(model.energy_reference.device)
    return [x.cpu() for x in blocks_of(model(graph, energy=False, hamiltonian=True), samples)]


@torch.no_grad()
def band_errors(model: HELM | None, samples: Sequence[UpscalingSample]) -> BandErrors | None:
    """Mean errors over crystals, at all points of their meshes; None without crystals.

    Parameters
    ----------
    model
        None: H0 alone.
    samples
        Crystals.
    """
    found = []
    for sample in samples:
        empty = torch.zeros(len(sample.graph.translation), sample.overlap.size, sample.overlap.size).double()
        correction = empty if model is None else _corrections(model, [sample])[0]
        errors = MEV * sample.errors(correction, torch.arange(len(sample.kpts))).abs()
        occupied, virtual = errors[:, : sample.occupied], errors[:, sample.occupied :]
        found.append([float(x[torch.isfinite(x)].mean()) for x in (occupied, virtual)])
    return BandErrors(*np.mean(found, 0).tolist()) if found else None
