"""Errors of a model on labelled crystals: matrices, bands, Fermi level, gap, energy."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from helm_ase.dataset.crystals import CrystalSample
from helm_ase.electronic.band_levels import levels
from helm_ase.electronic.bands import Bands, gap_of
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.nn import HELM
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.lattice import Lattice
from helm_ase.units import HARTREE_IN_EV

MEV = 1000 * HARTREE_IN_EV
DENSITY = 2.5
"""Points per 1/Å of the mesh on which bands are compared; not that of the labels."""


@dataclass(frozen=True)
class CrystalErrors:
    """Errors of one crystal; orbital energies on a mesh of k points, in meV."""

    hamiltonian: float
    """Mean absolute element of ΔH(T) over atoms and pairs within the cutoff, µEh."""
    occupied: float
    """Mean absolute error of occupied levels, from the zero of energy of the labels."""
    occupied_from_fermi: float
    """The same, from the Fermi level of each side."""
    virtual: float
    """Mean absolute error of the lowest virtual levels."""
    fermi_level: float
    """Error with its sign."""
    gap: float
    """Error of the fundamental gap on the mesh, with its sign."""
    energy: float
    """Error of the energy, meV per atom; NaN if there is none."""


def crystal_errors(
    model: HELM | None,
    samples: Sequence[CrystalSample],
    width: float,
    virtuals: int = 4,
    energies: bool = False,
) -> list[CrystalErrors]:
    """Errors of every crystal.

    Parameters
    ----------
    model
        None: H0 alone.
    samples
        Labelled crystals.
    width
        Width of the Fermi smearing, Hartree.
    virtuals
        Unoccupied levels that count.
    energies
        Whether the model has learnt energies.
    """
    return [_errors_of(model, sample, width, virtuals, energies) for sample in samples]


def _errors_of(
    model: HELM | None, sample: CrystalSample, width: float, virtuals: int, energies: bool
) -> CrystalErrors:
    predicted, energy = torch.zeros_like(sample.correction), float("nan")
    if model is not None:
        with torch.no_grad():
            out = model(sample.graph.to(model.energy_reference.device), energy=energies, hamiltonian=True)
        assert out.correction is not None
        predicted = out.correction[:, 0].double().cpu()
        energy = float("nan") if out.energy is None else float(out.energy)
    mesh = KMesh.of_density(_lattice(sample), DENSITY)
    ours = LatticeOperator(sample.graph.translation.cpu(), predicted)
    reference, overlap, rest = sample.reference(mesh.kpts)
    both = [levels(h, overlap) for h in (reference - rest + ours.at(mesh.kpts), reference)]
    bands = [Bands(e[None], mesh.weights, sample.electrons, width) for e in both]
    occupied = sample.electrons // 2
    gaps = [gap_of(b.levels, occupied).fundamental for b in bands]
    shift = bands[0].fermi_level - bands[1].fermi_level
    difference = both[0] - both[1]
    atoms = len(sample.graph.z)
    return CrystalErrors(
        hamiltonian=1e6 * float((predicted - sample.correction)[sample.within].abs().mean()),
        occupied=MEV * float(difference[:, :occupied].abs().mean()),
        occupied_from_fermi=MEV * float((difference[:, :occupied] - shift).abs().mean()),
        virtual=MEV * float(difference[:, occupied : occupied + virtuals].abs().mean()),
        fermi_level=MEV * shift,
        gap=MEV * (gaps[0] - gaps[1]),
        energy=1000 * (energy - sample.energy) / atoms,
    )


def _lattice(sample: CrystalSample) -> Lattice:
    """Lattice with the periodic directions in which the crystal has neighbours."""
    periodic = sample.overlap.translations.any(dim=0).numpy()
    return Lattice(sample.graph.cell[0].cpu().numpy(), periodic)


def mean_errors(errors: Sequence[CrystalErrors]) -> dict[str, Any]:
    """Means of absolute values over crystals, by the names of the fields; NaN where nothing is known."""
    means = {}
    for f in fields(CrystalErrors):
        values = np.abs([getattr(e, f.name) for e in errors])
        known = values[np.isfinite(values)]
        means[f.name] = float(known.mean()) if len(known) else float("nan")
    return means
