"""Static polarizability with the full response of the orbitals (coupled-perturbed Kohn–Sham)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf.scf import cphf, ucphf

from helm_ase.errors import SCFError


def coupled_polarizability(mf: Any) -> NDArray[np.float64]:
    """α_ij = −∂²E/∂F_i∂F_j of a converged RKS or UKS, atomic units (a0³), shape (3, 3).

    The response includes Hartree and exchange–correlation kernels; the sum over states without them is
    another quantity, typically 10–40 % larger.
    """
    with mf.mol.with_common_orig((0.0, 0.0, 0.0)):
        dipole = mf.mol.intor_symmetric("int1e_r", comp=3)
    return _restricted(mf, dipole) if mf.mo_coeff.ndim == 2 else _unrestricted(mf, dipole)


def _restricted(mf: Any, dipole: NDArray[np.float64]) -> NDArray[np.float64]:
    occupied, virtual = mf.mo_coeff[:, mf.mo_occ > 0], mf.mo_coeff[:, mf.mo_occ == 0]
    if 0 in (occupied.shape[1], virtual.shape[1]):
        return np.zeros((3, 3))  # nothing can respond in this basis
    response = mf.gen_response(hermi=1)
    perturbation = np.einsum("pa,xpq,qi->xai", virtual, dipole, occupied)
    shape = perturbation.shape

    def induced(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        x = vector.reshape(-1, *shape[1:])
        density = np.einsum("pa,xai,qi->xpq", virtual, 2 * x, occupied)
        potential = response(density + density.swapaxes(1, 2))
        couplings: NDArray[np.float64] = np.einsum("pa,xpq,qi->xai", virtual, potential, occupied)
        return couplings.reshape(vector.shape)

    amplitudes = _solved(cphf, induced, mf, perturbation)
    return _symmetrised(-4.0 * np.einsum("xai,yai->xy", perturbation, amplitudes.reshape(shape)))


def _unrestricted(mf: Any, dipole: NDArray[np.float64]) -> NDArray[np.float64]:
    spaces = [(c[:, o == 0], c[:, o > 0]) for c, o in zip(mf.mo_coeff, mf.mo_occ, strict=True)]
    response = mf.gen_response(hermi=1)
    perturbation = [np.einsum("pa,xpq,qi->xai", v, dipole, o) for v, o in spaces]
    sizes = [p[0].size for p in perturbation]
    if sum(sizes) == 0:
        return np.zeros((3, 3))

    def split(vector: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        flat = vector.reshape(-1, sum(sizes))
        parts = flat[:, : sizes[0]], flat[:, sizes[0] :]
        return [x.reshape(len(flat), *p.shape[1:]) for x, p in zip(parts, perturbation, strict=True)]

    def induced(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        halves = [
            np.einsum("pa,xai,qi->xpq", v, x, o) for (v, o), x in zip(spaces, split(vector), strict=True)
        ]
        potential = response(np.stack([d + d.swapaxes(1, 2) for d in halves]))
        parts = [np.einsum("pa,xpq,qi->xai", v, u, o) for (v, o), u in zip(spaces, potential, strict=True)]
        return np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1).reshape(vector.shape)

    amplitudes = _solved(ucphf, induced, mf, perturbation)
    pairs = zip(perturbation, amplitudes, strict=True)
    return _symmetrised(
        -2.0 * sum(np.einsum("xai,yai->xy", p, np.asarray(a).reshape(p.shape)) for p, a in pairs)
    )


def _solved(solver: Any, induced: Any, mf: Any, perturbation: Any) -> Any:
    try:
        return solver.solve(induced, mf.mo_energy, mf.mo_occ, perturbation, tol=1e-7, max_cycle=50)[0]
    except (RuntimeError, np.linalg.LinAlgError) as error:
        raise SCFError(f"the coupled-perturbed equations did not converge: {error}") from error


def _symmetrised(alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    skew = np.abs(alpha - alpha.T).max()
    if not np.isfinite(alpha).all() or skew > 1e-3 * max(np.abs(alpha).max(), 1.0):
        raise SCFError(f"the coupled-perturbed equations did not converge (asymmetry {skew:.2g} a.u.)")
    return 0.5 * (alpha + alpha.T)
