"""From ``Atoms`` to numbers: network, baseline and electronic structure put together.

The calculator keeps ASE's books; what is computed, and in which order, stands here.  PySCF is imported with
the first Hamiltonian: who only runs MD never waits for it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.checkpoint import Checkpoint
from helm_ase.electronic import ElectronicStructure, dipole_moment, mulliken_charges
from helm_ase.errors import PredictionError
from helm_ase.nn import HELM, trust_correction
from helm_ase.representation import AOMatrix
from helm_ase.representation.graph import AtomicGraph
from helm_ase.states import ChargeState
from helm_ase.units import ATOMIC_DIPOLE_IN_E_ANGSTROM


@dataclass(frozen=True)
class ElectronicPrediction:
    """Everything that follows from one predicted Hamiltonian; matrices in PySCF AO order."""

    mole: Any
    """PySCF ``Mole`` of the geometry."""
    structure: ElectronicStructure
    """H, S, orbitals and density, Hartree."""
    basis: Any
    """Shells of every element."""

    @property
    def hamiltonian(self) -> NDArray[np.float64]:
        """Hartree, (A, A), or (2, A, A) for α and β."""
        h = self.structure.hamiltonian.numpy()
        return h[0] if len(h) == 1 else h

    @cached_property
    def _density(self) -> Tensor:
        return self.structure.density_matrix

    @cached_property
    def dipole(self) -> NDArray[np.float64]:
        """e·Å, shape (3,)."""
        from helm_ase.qc.molecule import dipole_integrals

        integrals = dipole_integrals(self.mole, self.basis, "pyscf")
        nuclei = torch.as_tensor(self.mole.atom_charges(), dtype=torch.float64)
        positions = torch.as_tensor(self.mole.atom_coords())
        dipole = dipole_moment(self._density, torch.from_numpy(integrals), nuclei, positions)
        return dipole.numpy() * ATOMIC_DIPOLE_IN_E_ANGSTROM

    @cached_property
    def charges(self) -> NDArray[np.float64]:
        """Mulliken charges, e, shape (N,)."""
        nuclei = torch.as_tensor(self.mole.atom_charges(), dtype=torch.float64)
        offsets = np.append(self.mole.aoslice_by_atom()[:, 2], self.mole.nao)
        return mulliken_charges(
            self._density, self.structure.overlap, nuclei, torch.from_numpy(offsets)
        ).numpy()


def predict_energy(
    model: HELM, atoms: Atoms, state: ChargeState, forces: bool
) -> tuple[float, NDArray[np.float64] | None]:
    """Energy in eV and, if asked, forces in eV/Å.

    Raises
    ------
    PredictionError
        If the network returns a number that is not finite.
    """
    with torch.inference_mode(False):  # forces need autograd even where the caller has switched it off
        out = model(make_graph(model, atoms, state), energy=True, forces=forces)
    energy = float(out.energy.detach())
    gradient = None if out.forces is None else out.forces.detach().cpu().numpy().astype(np.float64)
    if not np.isfinite(energy) or (gradient is not None and not np.isfinite(gradient).all()):
        raise PredictionError("the network returned an energy or force that is not finite for this geometry")
    return energy, gradient


def predict_electronic_structure(
    model: HELM, checkpoint: Checkpoint, atoms: Atoms, state: ChargeState
) -> ElectronicPrediction:
    """Predict H = H0 + W ΔH W and solve H C = S C ε.

    Parameters
    ----------
    model
        Network of the checkpoint in the wanted precision and on the wanted device.
    checkpoint
        Level of theory and baseline.
    atoms, state
        Geometry, charge and multiplicity.
    """
    from helm_ase.qc.baseline import baseline_hamiltonian
    from helm_ase.qc.molecule import build_mole, overlap

    basis = checkpoint.basis
    mole = build_mole(atoms.numbers, atoms.positions, basis.name, state.charge, state.multiplicity)
    s = overlap(mole, basis)
    h0 = baseline_hamiltonian(mole, basis, checkpoint.level, checkpoint.baseline)
    with torch.inference_mode(False), torch.no_grad():
        out = model(make_graph(model, atoms, state), energy=False, hamiltonian=True)
    correction = out.correction[0].double().cpu()  # (s, A, A)
    correction = correction[:1] if state.multiplicity == 1 else correction
    if (sides := model.settings.filter_of(torch.from_numpy(s.values))) is not None:
        correction = trust_correction(correction, sides)
    matrices = [
        AOMatrix(h0.values + dh.numpy(), h0.numbers, basis).reorder("pyscf").values for dh in correction
    ]
    if not np.isfinite(matrices).all():
        raise PredictionError("the network returned a Hamiltonian that is not finite for this geometry")
    structure = ElectronicStructure.solve(
        torch.from_numpy(np.stack(matrices)),
        torch.from_numpy(s.reorder("pyscf").values),
        basis.electrons(atoms.numbers, state.charge),
        state.multiplicity,
    )
    return ElectronicPrediction(mole, structure, basis)


def make_graph(model: HELM, atoms: Atoms, state: ChargeState) -> AtomicGraph:
    """Graph of ``atoms`` on the model's device."""
    graph = AtomicGraph.from_arrays(
        atoms.numbers, atoms.positions, model.cutoff, state.charge, state.multiplicity
    )
    return graph.to(model.energy_reference.device)
