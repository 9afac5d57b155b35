"""Distance of a predicted Hamiltonian from self-consistency: an error estimate without a reference."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helm_ase.qc.scf_steps import Refined

USUAL = (450e-6, 7e-3)
"""|F[D(H)] − H| and commutator, Hartree, that 19 of 20 unseen molecules of helm-hcnof-2 stay below."""
FAR = 3.0
"""Multiple of these values above which a prediction is reported as unreliable."""


@dataclass(frozen=True)
class Reliability:
    """Indicators of the error, all of them zero for a converged Hamiltonian and independent of molecular
    size."""

    fock_residual: float
    """Mean |F[D(H)] − H| over matrix elements, Hartree.  As the mean error of H itself it falls where blocks
    of distant atoms, which are all nearly zero, become many: compare molecules of similar size."""
    commutator_norm: float
    """Frobenius norm of F D S − S D F, the error that DIIS minimises, over the root of the number of AOs,
    with D of both spins together, Hartree."""
    energy_change: float
    """Expected change of the energy by one SCF step, eV/atom; negative."""
    density_change: float
    """Electrons that one SCF step moves to other orbitals, over all electrons."""
    atom_residuals: NDArray[np.float64]
    """Mean |F[D(H)] − H| over the block of each atom with itself, Hartree, (N,): where the error sits."""

    @property
    def words(self) -> str:
        """What residual and commutator mean, by the worse of them (:data:`USUAL`, :data:`FAR`)."""
        worse = max(self.fock_residual / USUAL[0], self.commutator_norm / USUAL[1])
        if worse <= 1:
            return "as near to self-consistency as 19 of 20 unseen molecules of helm-hcnof-2"
        if worse <= FAR:
            return "further from self-consistency than usual: trust refined levels (refine=2) more"
        return "far from self-consistency: levels and density are wrong, take refined ones (refine=2)"


def reliability(
    hamiltonian: NDArray[np.float64], overlap: NDArray[np.float64], refined: Refined, atom: NDArray[np.int64],
    hartree: float,
) -> Reliability:  # fmt: skip
    """Compare a Hamiltonian with the Fock matrix of its own density.

    Parameters
    ----------
    hamiltonian
        H, Hartree, PySCF AO order, (s, A, A).
    overlap
        S, (A, A).
    refined
        One step from D(H).
    atom
        Atom of each function, (A,).
    hartree
        In eV.
    """
    before, after = refined.step.densities, refined.densities
    fock, spins = refined.step.fock, len(before)
    products = fock @ before @ overlap
    commutator = products - products.swapaxes(1, 2)
    electrons = float(np.einsum("sab,ba->", before, overlap))
    shared = float(np.einsum("sab,sba->", before @ overlap, after @ overlap)) * spins / 2
    residual = np.abs(fock - hamiltonian)
    return Reliability(
        fock_residual=float(residual.mean()),
        commutator_norm=float(np.linalg.norm(commutator)) * float(np.sqrt(spins / len(overlap))),
        energy_change=(refined.harris_energy - refined.step.energy) * hartree / (int(atom[-1]) + 1),
        density_change=max(electrons - shared, 0.0) / electrons if electrons else 0.0,
        atom_residuals=np.array(
            [residual[:, atom == k][:, :, atom == k].mean() for k in range(atom[-1] + 1)]
        ),
    )
