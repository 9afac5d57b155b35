"""Predictions for a molecule: network, baseline and electronic structure combined.

PySCF is imported only when the first Hamiltonian is computed, so that molecular dynamics does not wait for
it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.checkpoint import Checkpoint
from helm_ase.electronic import ElectronicStructure
from helm_ase.errors import CheckpointError, PredictionError, SettingError
from helm_ase.nn import HELM, applied_correction
from helm_ase.representation import AOMatrix
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.energy_baseline import EnergyBaselineResult, EnergyMethod
from helm_ase.representation.graph import AtomicGraph
from helm_ase.representation.level import LevelOfTheory
from helm_ase.system.torch_state import own_torch_state
from helm_ase.units import ATOMIC_DIPOLE_IN_E_ANGSTROM, BOHR_IN_ANGSTROM, HARTREE_IN_EV

if TYPE_CHECKING:
    from helm_ase.qc.scf_steps import SCFStep, SelfConsistency


@dataclass(frozen=True)
class ElectronicPrediction:
    """Predicted Hamiltonian of a molecule, and everything computed from it; matrices in PySCF AO order."""

    mole: Any
    """PySCF ``Mole`` of the geometry."""
    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    structure: ElectronicStructure
    """H, S, orbitals and density, Hartree."""
    level: LevelOfTheory
    """Level of theory of the labels that the model was trained on."""

    @property
    def hamiltonian(self) -> NDArray[np.float64]:
        """Hartree, (A, A), or (2, A, A) for α and β."""
        h = self.structure.hamiltonian.numpy()
        return h[0] if len(h) == 1 else h

    @property
    def atoms(self) -> Atoms:
        """The geometry."""
        return Atoms(self.numbers, self.mole.atom_coords() * BOHR_IN_ANGSTROM)

    @property
    def multiplicity(self) -> int:
        """2S + 1."""
        return int(self.mole.spin) + 1

    @cached_property
    def scf(self) -> "SelfConsistency":
        """SCF problem to whose solution the prediction is an approximation.

        Raises
        ------
        SettingError
            If the installed PySCF defines the functional differently from the labels, or the Hamiltonian is
            an effective one in a smaller basis, which no SCF would give.
        """
        from helm_ase.qc.level import check_variant
        from helm_ase.qc.scf_steps import SelfConsistency

        if self.level.label_basis:
            raise SettingError(
                f"this model's Hamiltonian is an effective one in {self.level.basis} with the orbital "
                f"energies of {self.level.label_basis}: no SCF converges to it, so that there is "
                "none to continue or to compare with; initial_guess(mol) gives its density in any basis"
            )
        check_variant(self.level)
        return SelfConsistency(self.mole, self.level, self.structure.n_spins)

    @cached_property
    def first_step(self) -> "SCFStep":
        """Fock matrix and energy of the predicted density: as expensive as one SCF cycle."""
        return self.scf.build(self.structure.spin_densities.numpy())

    @cached_property
    def coupled_polarizability(self) -> NDArray[np.float64]:
        """Full response of the predicted orbitals, taken as converged, a0³, (3, 3): as expensive as an
        SCF."""
        s = self.structure
        orbitals = (s.orbital_energies.numpy(), s.orbitals.numpy(), s.occupations.numpy())
        return self.scf.coupled_polarizability(tuple(x[0] for x in orbitals) if s.n_spins == 1 else orbitals)

    @cached_property
    def dipole(self) -> NDArray[np.float64]:
        """About the origin of the coordinates, e·Å, shape (3,)."""
        origin = torch.zeros(3, dtype=torch.float64, device="cpu")
        return self.structure.dipole(origin).numpy() * ATOMIC_DIPOLE_IN_E_ANGSTROM

    @cached_property
    def charges(self) -> NDArray[np.float64]:
        """Mulliken charges, e, shape (N,)."""
        return self.structure.charges().numpy()


def levels_of(prediction: ElectronicPrediction) -> NDArray[np.float64]:
    """All orbital energies, eV, (M,), or (2, M) of an open shell."""
    levels = prediction.structure.orbital_energies.numpy() * HARTREE_IN_EV
    return levels[0] if len(levels) == 1 else levels


class EnergyPrediction(NamedTuple):
    """Energy and forces of a molecule from one evaluation of the network."""

    energy: float
    """eV."""
    forces: NDArray[np.float64] | None
    """eV/Å, (N, 3)."""
    features: torch.Tensor
    """Last hidden layer of the energy head, (N, F), for the error bar."""


def predict_energy(
    model: HELM,
    atoms: Atoms,
    state: ChargeState,
    forces: bool,
    tight_binding: EnergyMethod | None = None,
    recompute: bool | None = None,
) -> EnergyPrediction:
    """Energy and, if asked, forces.

    Parameters
    ----------
    model
        Network.
    atoms, state
        Geometry, charge and multiplicity.
    forces
        Whether to compute forces.
    tight_binding
        Energy baseline of the model's checkpoint; None if it has none.
    recompute
        Compute messages between atoms again for the forces instead of keeping them, which takes less memory
        and more time; None: where there are many.

    Raises
    ------
    PredictionError
        If the network returns a number that is not finite.
    SCFError
        If the energy baseline does not converge.
    """
    baseline = None
    if tight_binding is not None:
        from helm_ase.prediction.energy_baseline import baseline_energy

        baseline = baseline_energy(tight_binding, atoms.numbers, state)
    device = model.energy_reference.device  # forces need autograd even if the caller disabled it
    with own_torch_state(device), torch.inference_mode(False), torch.set_grad_enabled(forces):
        graph = make_graph(model, atoms, state, model.settings.backbone.cutoff)
        out = model(graph, forces=forces, energy_baseline=baseline, recompute=recompute)
    energy = float(out.energy.detach())
    gradient = None if out.forces is None else out.forces.detach().cpu().numpy().astype(np.float64)
    if not np.isfinite(energy) or (gradient is not None and not np.isfinite(gradient).all()):
        raise PredictionError("the network returned an energy or force that is not finite for this geometry")
    return EnergyPrediction(energy, gradient, out.energy_features)


def predict_electronic_structure(
    model: HELM,
    checkpoint: Checkpoint,
    atoms: Atoms,
    state: ChargeState,
    tight_binding: EnergyMethod | None = None,
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
    tight_binding
        Energy baseline of the checkpoint, which gives the charges and spin densities for H0; None: a new one.
    """
    with own_torch_state(model.energy_reference.device), torch.inference_mode(False), torch.no_grad():
        out = model(make_graph(model, atoms, state), energy=False, hamiltonian=True)
    return finish_electronic_structure(model, checkpoint, atoms, state, out.correction[0], tight_binding)


def finish_electronic_structure(
    model: HELM,
    checkpoint: Checkpoint,
    atoms: Atoms,
    state: ChargeState,
    output: torch.Tensor,
    tight_binding: EnergyMethod | None = None,
) -> ElectronicPrediction:
    """Compute orbitals from the network's output for a molecule.

    Parameters
    ----------
    model, checkpoint, atoms, state, tight_binding
        As for :func:`predict_electronic_structure`.
    output
        What the Hamiltonian heads give, Hartree, canonical AO order, (s, A, A), padded or not.

    Raises
    ------
    PredictionError
        If the Hamiltonian is not finite.
    CheckpointError
        If the shells of the checkpoint are not those of its basis.
    """
    from helm_ase.qc.baseline import baseline_of_spins
    from helm_ase.qc.integrals import MoleIntegrals
    from helm_ase.qc.molecule import basis_of, build_mole, overlap

    basis = checkpoint.basis
    mole = build_mole(atoms.numbers, atoms.positions, basis.name, state.charge, state.multiplicity)
    if any(basis.shells_of(z) != shells for z, shells in basis_of(mole).shells.items()):
        raise CheckpointError(
            f"{checkpoint.name}: the shells of its header are not those of {basis.name!r}: it is damaged"
        )
    s = overlap(mole, basis)
    e0 = _charges_and_spins(checkpoint, atoms, state, tight_binding)
    h0 = baseline_of_spins(mole, basis, checkpoint.level, checkpoint.baseline, e0)
    spins = 1 if state.multiplicity == 1 else len(output)
    correction = applied_correction(model, output, torch.from_numpy(s.values), spins, atoms.numbers)
    matrices = [AOMatrix(h, s.numbers, basis).reorder("pyscf").values for h in h0 + correction.numpy()]
    if not np.isfinite(matrices).all():
        raise PredictionError("the network returned a Hamiltonian that is not finite for this geometry")
    structure = ElectronicStructure.solve(
        torch.from_numpy(np.stack(matrices)),
        torch.from_numpy(s.reorder("pyscf").values),
        basis.electrons(atoms.numbers, state.charge),
        state.multiplicity,
        integrals=MoleIntegrals(mole),
    )
    return ElectronicPrediction(mole, atoms.numbers.copy(), structure, checkpoint.level)


def _charges_and_spins(
    checkpoint: Checkpoint, atoms: Atoms, state: ChargeState, tight_binding: EnergyMethod | None
) -> EnergyBaselineResult | None:
    """What the baseline H0 responds to."""
    spins = checkpoint.baseline.spins and state.multiplicity > 1
    if not (checkpoint.baseline.charges or spins):
        return None
    from helm_ase.qc.tight_binding import TightBinding

    e0 = checkpoint.energy_baseline
    own = None if e0.charge_parameters or spins else tight_binding
    compute = own or TightBinding(e0.for_charges, spins)
    return compute(atoms.numbers, atoms.positions, *state)


def make_graph(model: HELM, atoms: Atoms, state: ChargeState, cutoff: float | None = None) -> AtomicGraph:
    """Graph of ``atoms`` on the model's device, with the pairs within ``cutoff`` in Å; None: all that the
    Hamiltonian needs."""
    reach = model.cutoff if cutoff is None else cutoff
    graph = AtomicGraph.from_arrays(atoms.numbers, atoms.positions, reach, *state)
    placed: AtomicGraph = graph.to(model.energy_reference.device)
    return placed
