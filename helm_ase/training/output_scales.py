"""Reference energies of the elements and scales of outputs, computed from the training set before
training."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from helm_ase.dataset.sample import Sample
from helm_ase.dataset.statistics import element_statistics
from helm_ase.nn import HELM, HELMSettings
from helm_ase.nn.hamiltonian_head import HamiltonianHead, path_name
from helm_ase.nn.tensor_construction import project
from helm_ase.nn.unseen_pairs import estimate_unseen_scales
from helm_ase.representation.graph import AtomicGraph, edge_vectors
from helm_ase.representation.overlap import symmetric_root

SMALLEST_ENVELOPE = 1e-3
"""Envelope below which a block says nothing about the size of outputs."""


def fit_energy_references(model: HELM, samples: Sequence[Sample]) -> None:
    """Set per-element reference energies by least squares and the scale of what remains.

    Labels without energy do not count; without any, references stay zero.
    """
    statistics = element_statistics(samples, model.basis.elements)
    if np.isfinite(statistics.energy_scale):
        model.energy_reference.copy_(torch.from_numpy(statistics.reference_energies))
        model.energy_scale.fill_(statistics.energy_scale)
        if model.energy_head.state is not None:
            settings = model.settings
            for (charge, multiplicity), energy in statistics.state_energies.items():
                row, column = settings.charges.index(charge), settings.multiplicities.index(multiplicity)
                model.state_reference[row, column] = energy


def fit_block_scales(model: HELM, samples: Sequence[Sample]) -> None:
    """Set scale (root mean square) and on-site shift (mean) of every path from the training targets.

    Where ΔH is not known, its size is estimated, but no shift is set, as it would displace all core orbitals.
    """
    samples = [sample for sample in samples if not sample.energy_only]
    known = all(sample.has_matrix for sample in samples)
    for spin, head in enumerate(model.hamiltonian_heads):
        assert isinstance(head, HamiltonianHead)
        onsite, pairs = _collect_blocks(model, samples, spin)
        for species, blocks in onsite.items():
            _set_scales(head, (species,), torch.stack(blocks).double(), shift=known)
        n = len(model.basis.elements)
        for species, blocks in pairs.items():
            _set_scales(head, divmod(species, n), torch.stack(blocks).double(), shift=False)
        estimate_unseen_scales(head)


def scale_blocks(model: HELM, crystals: Sequence[tuple[AtomicGraph, torch.Tensor]]) -> None:
    """The same as :func:`fit_block_scales` from graphs of crystals and their ΔH(T), (n_T, A, A)."""
    onsite: dict[int, list[torch.Tensor]] = {}
    pairs: dict[int, list[torch.Tensor]] = {}
    n = len(model.basis.elements)
    for graph, correction in crystals:
        species = model.element_index[graph.z].tolist()
        spans = [slice(a, b) for a, b in pairwise(model.basis.offsets(graph.z.numpy()))]
        home = correction[int(graph.home[0])]
        for i, s in enumerate(species):
            onsite.setdefault(s, []).append(home[spans[i], spans[i]].float())
        envelope = model.backbone.pair_envelope(edge_vectors(graph).norm(dim=1)).clamp(min=SMALLEST_ENVELOPE)
        places = zip(graph.pair_index.T.tolist(), graph.slot.tolist(), envelope.tolist(), strict=True)
        for (i, j), slot, faded in places:
            block = correction[slot][spans[i], spans[j]].float() / faded
            pairs.setdefault(species[i] * n + species[j], []).append(block)
            if species[i] == species[j] or not model.settings.hermitian:
                pairs.setdefault(species[j] * n + species[i], []).append(block.T)
    for head in model.hamiltonian_heads:
        assert isinstance(head, HamiltonianHead)
        for s, blocks in onsite.items():
            _set_scales(head, (s,), torch.stack(blocks).double(), shift=True)
        for s, blocks in pairs.items():
            _set_scales(head, divmod(s, n), torch.stack(blocks).double(), shift=False)
        estimate_unseen_scales(head)


def _collect_blocks(
    model: HELM, samples: Sequence[Sample], spin: int
) -> tuple[dict[int, list[torch.Tensor]], dict[int, list[torch.Tensor]]]:
    onsite: dict[int, list[torch.Tensor]] = {}
    pairs: dict[int, list[torch.Tensor]] = {}
    n = len(model.basis.elements)
    for sample in samples:
        species = model.element_index[sample.graph.z].tolist()
        start = model.basis.offsets(sample.graph.z.numpy())
        correction = _expected(sample, spin, model.settings)
        spans = [slice(a, b) for a, b in pairwise(start)]
        for i, s in enumerate(species):
            onsite.setdefault(s, []).append(correction[spans[i], spans[i]])
        vectors = sample.graph.pos[sample.graph.pair_index[1]] - sample.graph.pos[sample.graph.pair_index[0]]
        envelope = model.backbone.pair_envelope(vectors.norm(dim=1)).clamp(min=SMALLEST_ENVELOPE).tolist()
        for (i, j), faded in zip(sample.graph.pair_index.T.tolist(), envelope, strict=True):
            block = correction[spans[i], spans[j]] / faded
            pairs.setdefault(species[i] * n + species[j], []).append(block)
            if species[i] == species[j] or not model.settings.hermitian:
                pairs.setdefault(species[j] * n + species[i], []).append(block.T)
    return onsite, pairs


def _expected(sample: Sample, spin: int, settings: HELMSettings) -> torch.Tensor:
    """Output for one spin, (A, A); a twentieth of H0 where labels in a larger basis leave ΔH unknown."""
    spin = min(spin, len(sample.correction) - 1)  # a closed shell has one for both
    h0 = sample.baseline.expand_as(sample.correction)[spin]
    correction = sample.correction[spin].double() if sample.has_matrix else 0.05 * h0
    if settings.orthogonal:
        inverse = torch.linalg.inv(symmetric_root(sample.overlap))
        correction = inverse @ correction @ inverse
    return correction.float()


def _set_scales(head: HamiltonianHead, elements: tuple[int, ...], blocks: torch.Tensor, shift: bool) -> None:
    plan, matrices = head.plan(*elements)
    readout, s = head.readout(*elements)
    rows = readout.rows(plan)
    for key, values in project(plan, blocks, matrices).items():  # (E, 2L + 1, n)
        if shift and key == (0, True):
            mean = values.mean((0, 1))
            readout.shift[s, rows[key]] = mean.float()
            values = values - mean
        scale = values.square().mean((0, 1)).sqrt().clamp(min=1e-5)
        getattr(readout, f"scale_{path_name(key)}")[s, rows[key]] = scale.float()
