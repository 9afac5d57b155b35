"""Small random networks, and what they say of one molecule."""

from dataclasses import replace

import numpy as np
import torch

from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.representation import AOBasis
from helm_ase.representation.graph import AtomicGraph, batch_graphs

SPD = AOBasis("spd", {1: (0, 0, 1), 6: (0, 0, 0, 1, 1, 2), 7: (0, 0, 0, 1, 1, 2), 8: (0, 0, 0, 1, 1, 2)})
"""The shells of def2-SVP."""
SPDF = AOBasis("spdf", {1: (0, 1), 6: (0, 1, 2, 3)})

TINY = BackboneSettings(
    natural_channels=8, unnatural_channels=4, lmax=4, mmax_nodes=2, node_layers=2, edge_layers=2,
    cutoff=2.6, pair_cutoff=4.0, gaussians=12, radial_hidden=12, average_neighbours=3.0,
)  # fmt: skip


def tiny_model(basis=SPD, seed=3, dtype=torch.float64, randomise=True, **settings):
    """Small model in which every weight, gain, scale and reference is random, so that each is tested.

    Keyword arguments go to the backbone settings or, where they belong there, to the model's.
    """
    own = {k: settings.pop(k) for k in list(settings) if k in HELMSettings.__dataclass_fields__}
    backbone = replace(TINY, **{"lmax": 2 * basis.lmax, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HELM(basis, HELMSettings(backbone, energy_hidden=16, **own)).cast(dtype)
        if randomise:
            with torch.no_grad():
                for p in model.parameters():
                    p += 0.2 * torch.randn_like(p)
                for name, b in model.named_buffers():
                    if "scale" in name or "shift" in name or "reference" in name:
                        b += 0.3 * torch.randn_like(b)
    return model.eval()


def graph(model, numbers, positions, charge=0, multiplicity=1):
    return AtomicGraph.from_arrays(numbers, np.asarray(positions, float), model.cutoff, charge, multiplicity)


def run(model, numbers, positions, charge=0, multiplicity=1):
    """Energy (float), forces (N, 3) and ΔH (spins, A, A) of one molecule, as numpy arrays."""
    out = model(graph(model, numbers, positions, charge, multiplicity), forces=True, hamiltonian=True)
    return float(out.energy.detach()), out.forces.numpy(), out.correction[0].detach().numpy()


def run_energies(model, numbers, geometries):
    """Energies of many geometries of one molecule in one batch."""
    batch = batch_graphs([graph(model, numbers, r) for r in geometries])
    return model(batch).energy.detach().numpy()
