"""Dipole and polarizability without a Hamiltonian: what the detour through H must beat.

The backbone is that of HELM; the heads make the dipole from atomic charges and atomic dipoles, and the
polarizability from atomic tensors.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from helm_ase.dataset.sample import Sample
from helm_ase.nn import HELM, HELMSettings
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation.graph import batch_graphs, molecule_index
from helm_ase.training.batches import SharedBatches, loads_of
from helm_ase.training.observables import PredictedMolecule
from helm_ase.training.optimisers import make_optimiser
from helm_ase.training.rates import RateSchedule
from helm_ase.training.recipe import OptimiserSettings, RateSettings
from helm_ase.units import BOHR_IN_ANGSTROM

Y_Z_X = (2, 0, 1)
"""Degree 1 of the network is (y, z, x): where x, y, z stand."""
UNITS = {"dipole": 0.05, "polarizability": 0.2}
"""a.u., those of the losses of the indirect runs."""
Properties = tuple[Tensor, Tensor]
"""Dipole, e·a0, (B, 3), about the centre of nuclear charge; uncoupled polarizability, a0³, (B, 3, 3)."""


class PropertySurrogate(nn.Module):
    """Backbone of HELM with one head for each property.

    Parameters
    ----------
    settings
        Of the backbone.
    elements
        Atomic numbers that occur.
    """

    def __init__(self, settings: HELMSettings, elements: Sequence[int]) -> None:
        super().__init__()
        self.model = HELM(ao_basis("sto-3g", elements), replace(settings, energy_hidden=1))
        n = settings.backbone.natural_channels
        self.n = n
        self.scalars = nn.Sequential(nn.Linear(n, 2 * n), nn.SiLU(), nn.Linear(2 * n, 2 + 2 * n))
        self.dipole = nn.Linear(n, 1, bias=False)
        self.tensor = nn.Linear(n, 1, bias=False)
        table = torch.zeros(128)
        self.register_buffer("isotropic", table)  # mean share of each element

    def forward(self, graph: Batch) -> Properties:
        """Both properties of each molecule."""
        nodes = self.model.embed_nodes(graph)[..., : self.n]  # (N, L, Cn)
        invariant = self.scalars(nodes[:, 0])  # (N, 2 + 2 Cn)
        charge, share = invariant[:, 0], invariant[:, 1] + self.isotropic[graph.z]
        gates = invariant[:, 2:].unflatten(1, (2, self.n))
        vector = self.dipole(nodes[:, 1:4] * gates[:, :1]).squeeze(2)[:, Y_Z_X]  # (N, 3)
        deviator = cartesian(self.tensor(nodes[:, 4:9] * gates[:, 1:]).squeeze(2))  # (N, 3, 3)
        molecule = molecule_index(graph)
        count = torch.bincount(molecule).to(charge)
        zero = charge.new_zeros(len(count))
        charge = charge - (zero.index_add(0, molecule, charge) / count)[molecule]  # neutral molecules
        places = centred(graph).to(charge)
        moments = charge[:, None] * places + vector
        atomic = share[:, None, None] * torch.eye(3).to(share) + deviator
        return (
            moments.new_zeros(len(count), 3).index_add(0, molecule, moments),
            atomic.new_zeros(len(count), 3, 3).index_add(0, molecule, atomic),
        )


def cartesian(components: Tensor) -> Tensor:
    """Traceless symmetric matrices from xy, yz, z², xz, x² − y² parts, (N, 5) → (N, 3, 3)."""
    xy, yz, zz, xz, xx_yy = components.unbind(1)
    zz = zz / 3**0.5
    rows = [[xx_yy - zz, xy, xz], [xy, -xx_yy - zz, yz], [xz, yz, 2 * zz]]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def centred(graph: Batch) -> Tensor:
    """Atoms from the centre of nuclear charge of their molecule, bohr, (N, 3)."""
    molecule, weight = molecule_index(graph), graph.z.double()
    total = torch.zeros(int(molecule.max()) + 1, dtype=torch.float64).index_add(0, molecule, weight)
    sums = torch.zeros(len(total), 3, dtype=torch.float64)
    sums = sums.index_add(0, molecule, weight[:, None] * graph.pos)
    return (graph.pos - (sums / total[:, None])[molecule]) / BOHR_IN_ANGSTROM


def reference(sample: Sample) -> Properties:
    """What the label says, (3,) and (3, 3); a neutral molecule, so its electrons are its nuclear charge."""
    t = sample.targets
    centre = (sample.graph.z.double()[:, None] * sample.graph.pos).sum(0) / BOHR_IN_ANGSTROM
    return t.dipole + centre, t.polarizability


def of_baseline(sample: Sample) -> Properties:
    """What H0 says, (3,) and (3, 3)."""
    t = sample.targets
    molecule = PredictedMolecule(torch.zeros_like(t.baseline)[None], t)
    dipole = -2 * torch.einsum("xab,ab->x", t.position, molecule.densities[0])
    position = t.orthogonaliser.T @ t.position @ t.orthogonaliser
    alpha = molecule.solutions[0].uncoupled_polarizability(position, t.occupied[0])
    centre = (sample.graph.z.double()[:, None] * sample.graph.pos).sum(0) / BOHR_IN_ANGSTROM
    return dipole + centre, alpha


def aims(samples: Sequence[Sample], on_baseline: bool) -> list[Properties]:
    """What the surrogate learns: the properties, or what is missing from those of H0."""
    found = []
    for sample in samples:
        dipole, alpha = reference(sample)
        if on_baseline:
            start = of_baseline(sample)
            dipole, alpha = dipole - start[0], alpha - start[1]
        found.append((dipole, alpha))
    return found


def fit(
    settings: HELMSettings, samples: Sequence[Sample], on_baseline: bool, minutes: float, seed: int,
    batch_load: int,
) -> PropertySurrogate:  # fmt: skip
    """Surrogate after so many minutes of the processor, averaged over its last steps."""
    torch.manual_seed(seed)
    samples, wanted = list(samples), aims(samples, on_baseline)
    surrogate = PropertySurrogate(settings, sorted({int(z) for s in samples for z in s.graph.z}))
    surrogate.isotropic.copy_(shares(samples, wanted))
    moving = [
        p for n, p in surrogate.named_parameters() if not n.startswith(("model.hamiltonian", "model.energy"))
    ]
    optimiser = make_optimiser([(moving, 1.0)], OptimiserSettings(name="muon"))
    averaged = copy.deepcopy(surrogate)
    batches, schedule = SharedBatches(loads_of(samples), batch_load, seed), RateSchedule(RateSettings())
    start, step = time.process_time(), 0
    while progress(start, minutes) < 1:
        for batch in batches:
            if progress(start, minutes) >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * schedule.fraction(step, progress(start, minutes))
            optimiser.zero_grad()
            loss_of(surrogate, [samples[k] for k in batch], [wanted[k] for k in batch]).backward()
            torch.nn.utils.clip_grad_norm_(moving, OptimiserSettings.clip)
            optimiser.step()
            step += 1
            decay = min(OptimiserSettings.averaging, step / (step + 10))
            with torch.no_grad():
                for mean, now in zip(averaged.parameters(), surrogate.parameters(), strict=True):
                    mean.lerp_(now, 1 - decay)
        batches.set_epoch(batches.epoch + 1)
    return averaged.eval()


def progress(start: float, minutes: float) -> float:
    """Fraction of the processor's minutes that is over."""
    return (time.process_time() - start) / (60 * minutes)


def shares(samples: Sequence[Sample], wanted: Sequence[Properties]) -> Tensor:
    """Isotropic polarizability of each element, by least squares, (128,)."""
    counts = torch.stack([torch.bincount(s.graph.z, minlength=128) for s in samples]).double()
    traces = torch.stack([alpha.diagonal().mean() for _, alpha in wanted])
    return torch.linalg.lstsq(counts, traces[:, None], driver="gelsd").solution[:, 0].float()


def loss_of(surrogate: PropertySurrogate, samples: list[Sample], wanted: list[Properties]) -> Tensor:
    """Errors in units of the losses of the indirect runs, mean over molecules."""
    dipole, alpha = surrogate(batch_graphs([s.graph for s in samples]))
    dipole = dipole - torch.stack([d for d, _ in wanted])
    alpha = (alpha - torch.stack([a for _, a in wanted])).flatten(1)
    lengths = torch.linalg.vector_norm(dipole, dim=1) / UNITS["dipole"]
    return (lengths + torch.linalg.vector_norm(alpha, dim=1) / 3 / UNITS["polarizability"]).mean()


def errors(surrogate: PropertySurrogate, sample: Sample, on_baseline: bool) -> dict[str, float]:
    """Length of the dipole's error and root mean square of the polarizability's, a.u."""
    with torch.no_grad():
        dipole, alpha = (x[0].double() for x in surrogate(batch_graphs([sample.graph])))
    aim = aims([sample], on_baseline)[0]
    return {
        "dipole": float(torch.linalg.vector_norm(dipole - aim[0])),
        "polarizability": float(torch.linalg.vector_norm(alpha - aim[1]) / 3),
        "relative": float(torch.linalg.vector_norm(alpha - aim[1]) / torch.linalg.norm(reference(sample)[1])),
    }
