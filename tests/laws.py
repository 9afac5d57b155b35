"""What the tests compare with, written without the package's own formulas, and small random models."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from scipy.special import sph_harm_y
from scipy.stats import ortho_group, special_ortho_group

from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.representation import AOBasis
from helm_ase.representation.graph import AtomicGraph, batch_graphs

SPD = AOBasis("spd", {1: (0, 0, 1), 6: (0, 0, 0, 1, 1, 2), 7: (0, 0, 0, 1, 1, 2), 8: (0, 0, 0, 1, 1, 2)})
"""The shells of def2-SVP."""
SPDF = AOBasis("spdf", {1: (0, 1), 6: (0, 1, 2, 3)})

WATER = ([8, 1, 1], [[0.00, 0.02, 0.12], [0.05, 0.76, -0.47], [-0.03, -0.75, -0.48]])
FORMAMIDE = (
    [8, 6, 7, 1, 1, 1],
    [
        [1.19, 0.24, 0.02],
        [0.01, 0.39, -0.03],
        [-0.94, -0.56, 0.05],
        [-0.44, 1.41, 0.11],
        [-0.66, -1.52, -0.14],
        [-1.92, -0.32, 0.21],
    ],
)
ETHENE = (
    [6, 6, 1, 1, 1, 1],
    [
        [0.00, 0.05, 0.67],
        [0.03, -0.01, -0.66],
        [0.02, 0.93, 1.24],
        [-0.05, -0.91, 1.25],
        [0.01, 0.94, -1.22],
        [0.11, -0.89, -1.26],
    ],
)
CO2 = ([8, 6, 8], [-1.17, 0.0, 1.16])
"""Numbers and positions along a line."""
HCN = ([1, 6, 7], [-1.07, 0.0, 1.15])


# --- real spherical harmonics -------------------------------------------------------------------------


def real_harmonic(l, m, vectors):
    """Real spherical harmonic of unit norm: polar axis z, m < 0: sin |m|φ, m > 0: cos mφ, no phase (−1)^m."""
    x, y, z = np.asarray(vectors, dtype=float).T
    theta, phi = np.arccos(z / np.sqrt(x**2 + y**2 + z**2)), np.arctan2(y, x)
    value = sph_harm_y(l, abs(m), theta, phi) * (-1) ** abs(m)
    return value.real if m == 0 else np.sqrt(2) * (value.real if m > 0 else value.imag)


def real_harmonics(l, vectors):
    """All m = −l … l, shape (2l + 1, points)."""
    return np.stack([real_harmonic(l, m, vectors) for m in range(-l, l + 1)])


@cache
def _points(count=200):
    return np.random.default_rng(7).normal(size=(count, 3))


def wigner(l, operation):
    """Matrix D with Y(R r) = D Y(r), fitted on points; R may be improper."""
    points = _points()
    before, after = real_harmonics(l, points), real_harmonics(l, points @ np.asarray(operation).T)
    return np.linalg.lstsq(before.T, after.T, rcond=None)[0].T


def ao_rotation(basis, numbers, operation):
    """How the AOs of a molecule (m = −l … l in every shell) answer to a rotation or reflection."""
    degrees = basis.degrees(numbers)
    blocks = {l: wigner(l, operation) for l in set(degrees)}
    size, start = basis.size(numbers), 0
    d = np.zeros((size, size))
    for l in degrees:
        d[start : start + 2 * l + 1, start : start + 2 * l + 1] = blocks[l]
        start += 2 * l + 1
    return d


def rotation(seed):
    return special_ortho_group.rvs(3, random_state=seed)


def improper(seed):
    """A rotation times an inversion or a reflection, never a proper rotation."""
    r = ortho_group.rvs(3, random_state=seed)
    return r if np.linalg.det(r) < 0 else -r


# --- small models -------------------------------------------------------------------------------------


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


def line(values, axis):
    """Positions along a Cartesian axis."""
    positions = np.zeros((len(values), 3))
    positions[:, axis] = values
    return positions


def largest(x):
    return float(np.abs(x).max())


def relative(x, reference):
    """Largest deviation in units of the largest element."""
    return largest(np.asarray(x) - reference) / largest(reference)
