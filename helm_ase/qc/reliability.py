"""Distance of a predicted Hamiltonian from self-consistency: an error estimate without a reference."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from helm_ase.qc.scf_steps import Refined

FAR = 3.0
"""Multiple of what is usual above which a prediction is reported as unreliable."""


class Usual(NamedTuple):
    """What 19 of 20 unseen molecules of a model stay below."""

    fock_residual: float
    """Mean |F[D(H)] − H|, Hartree."""
    commutator_norm: float
    """Commutator of F, D and S over the root of the number of AOs, Hartree."""
    model: str
    """Name of the model."""


OF_HCNOF_2 = Usual(450e-6, 7e-3, "helm-hcnof-2")
"""Used for models for which this was not measured."""


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
    usual: Usual = OF_HCNOF_2
    """What residual and commutator are compared with."""

    @property
    def words(self) -> str:
        """What residual and commutator mean, by the worse of them (:class:`Usual`, :data:`FAR`)."""
        worse = max(
            self.fock_residual / self.usual.fock_residual, self.commutator_norm / self.usual.commutator_norm
        )
        most = f"19 of 20 unseen molecules of {self.usual.model}"
        if worse <= 1:
            return f"as near to self-consistency as {most}"
        if worse <= FAR:
            return f"further from self-consistency than {most}: trust refined levels (refine=2) more"
        return (
            f"far from self-consistency ({worse:.0f} times the limit of {most}): levels and density are "
            "wrong, take refined ones (refine=2)"
        )


def reliability(
    hamiltonian: NDArray[np.float64], overlap: NDArray[np.float64], refined: Refined, atom: NDArray[np.int64],
    hartree: float, usual: Usual = OF_HCNOF_2,
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
    usual
        What the numbers are compared with in words.
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
        usual=usual,
    )
