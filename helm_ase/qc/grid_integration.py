"""Exchange and correlation on a grid, in blocks that stay in the processor's cache.

PySCF's own integration walks through blocks of up to 67 200 points, which leave every cache, and multiplies
matrices by the BLAS that its wheels bundle, several times slower than NumPy's.  The formulas are the same;
energy, potential and nuclear gradient can come from one pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyscf.dft import numint

Array = NDArray[np.float64]

BLOCK = 24 * numint.BLKSIZE
"""Points at a time."""
KEPT_WORDS = 2**26
"""Function values of one grid that may be kept from one integral to the next: 512 MiB."""
DENSE = 0.85
"""Share of functions above which picking those that reach a block costs more than it saves."""
SECOND = ((4, 5, 6), (5, 7, 8), (6, 8, 9))
"""Where PySCF keeps the second derivatives xx, xy, xz; yx, yy, yz; zx, zy, zz."""


@dataclass(frozen=True)
class Integral:
    """Exchange–correlation energy of densities and its derivatives, atomic units."""

    electrons: Array
    """Number of electrons of each density as integrated on the grid, (S,)."""
    energy: float
    potential: Array
    """With respect to the density matrices, (S, A, A)."""
    gradient: Array | None
    """Part of the nuclear gradient, split by the function that moves; weights stay as they are.  (A, 3)."""


class GridCorrection(NamedTuple):
    """Error of a coarse grid, known from a finer one, that is added to every integral; atomic units."""

    energy: float
    potential: Any
    """With respect to the density matrix, of its shape, or zero."""


NO_CORRECTION = GridCorrection(0.0, 0.0)


class KeptValues(NamedTuple):
    """Values of functions on a grid that are kept from one integral to the next."""

    grids: Any
    """PySCF's grid; None if nothing is kept."""
    blocks: list[tuple[Array, Any, Array]]
    """Function values, indices of the functions, and weights of the points of each block."""


class GridIntegration(numint.NumInt):
    """PySCF's numerical integration, faster for LDA and GGA.

    Attributes
    ----------
    correction
        Energy and potential that are added to every integral.
    """

    def __init__(self) -> None:
        super().__init__()
        self.correction = NO_CORRECTION
        self._kept = KeptValues(None, [])

    def keep(self, mol: Any, grids: Any, xc_code: str) -> None:
        """Keep the values of functions on a grid that will be used again and again, if memory allows."""
        self.forget()
        if grids.coords is None:
            grids.build(with_non0tab=True)
        derivatives = int(self._xc_type(xc_code) == "GGA")
        if len(grids.weights) * mol.nao * (1, 4)[derivatives] <= KEPT_WORDS:
            blocks = [(v.copy(), which, w) for v, which, w in self._blocks(mol, grids, derivatives)]
            self._kept = KeptValues(grids, blocks)

    def forget(self) -> None:
        """Release what is kept."""
        self._kept = KeptValues(None, [])

    def nr_rks(self, mol: Any, grids: Any, xc_code: str, dms: Any, *args: Any, **kwargs: Any) -> Any:
        """Electrons, energy and potential of a closed shell; anything but one real matrix is left to
        PySCF."""
        if np.ndim(dms) != 2 or not self.handles(xc_code):
            return super().nr_rks(mol, grids, xc_code, dms, *args, **kwargs)
        integrals = self.integrate(mol, grids, xc_code, np.asarray(dms)[None])
        return (
            integrals.electrons[0],
            integrals.energy + self.correction.energy,
            integrals.potential[0] + self.correction.potential,
        )

    def nr_uks(self, mol: Any, grids: Any, xc_code: str, dms: Any, *args: Any, **kwargs: Any) -> Any:
        """The same for an open shell, (2, A, A)."""
        if np.ndim(dms) != 3 or not self.handles(xc_code):
            return super().nr_uks(mol, grids, xc_code, dms, *args, **kwargs)
        integrals = self.integrate(mol, grids, xc_code, np.asarray(dms))
        return (
            integrals.electrons,
            integrals.energy + self.correction.energy,
            integrals.potential + self.correction.potential,
        )

    def handles(self, xc_code: str) -> bool:
        """Whether the functional depends on the density and its first derivatives only."""
        return self._xc_type(xc_code) in ("LDA", "GGA")

    def integrate(
        self, mol: Any, grids: Any, xc_code: str, densities: Array, gradient: bool = False
    ) -> Integral:
        """Integrate a functional that :meth:`handles` accepts, without the correction.

        Parameters
        ----------
        mol, grids, xc_code
            As PySCF has them.
        densities
            Symmetric density matrices: the total one, (1, A, A), or those of both spins, (2, A, A).
        gradient
            Whether the nuclear gradient is wanted.
        """
        kind, spins = self._xc_type(xc_code), len(densities)
        count, energy = np.zeros(spins), 0.0
        potential = np.zeros_like(densities)
        forces = np.zeros((mol.nao, 3)) if gradient else None
        kept = grids is self._kept.grids and not gradient
        blocks = self._kept.blocks if kept else self._blocks(mol, grids, (kind == "GGA") + gradient)
        for ao, which, weights in blocks:
            part = densities[:, which[:, None], which] if len(which) < mol.nao else densities
            first = ao[:4] if kind == "GGA" else ao[:1]
            moved = [d @ ao[0] for d in part]
            rho = np.stack([_density(first, x) for x in moved])
            exc, vxc = self.eval_xc_eff(
                xc_code, rho[0] if spins == 1 else rho, deriv=1, xctype=kind, spin=spins - 1
            )[:2]
            charge = rho[:, 0] * weights
            count += charge.sum(1)
            energy += float(charge.sum(0) @ exc)
            factors = np.reshape(vxc, (spins, len(first), -1)) * weights
            factors[:, 0] *= 0.5
            for s in range(spins):
                scaled = np.einsum("kag,kg->ag", first, factors[s])
                block = ao[0] @ scaled.T
                _add(potential[s], which, block + block.T)
                if forces is not None:
                    forces[which] -= 2 * _moving(ao, moved[s], part[s] @ scaled, factors[s])
        return Integral(count, energy, potential, forces)

    def _blocks(self, mol: Any, grids: Any, derivatives: int) -> Iterator[tuple[Array, Any, Array]]:
        """Values (k, a, points) of functions that reach a block, their indices (a,), weights (points,)."""
        if grids.coords is None:
            grids.build(with_non0tab=True)
        shells = np.repeat(np.arange(mol.nbas), np.diff(mol.ao_loc_nr()))
        everything = np.arange(mol.nao)
        components = (1, 4, 10)[derivatives]
        buffer = np.empty(components * BLOCK * mol.nao)
        for start in range(0, len(grids.weights), BLOCK):
            points = slice(start, start + BLOCK)
            mask = grids.non0tab[start // numint.BLKSIZE :]
            ao = self.eval_ao(
                mol, grids.coords[points], derivatives, non0tab=mask, cutoff=grids.cutoff, out=buffer
            )
            values = ao.reshape(components, -1, mol.nao).swapaxes(1, 2)  # contiguous along the points
            which = np.flatnonzero(mask[: BLOCK // numint.BLKSIZE].any(0)[shells])
            if len(which) > DENSE * mol.nao:
                yield values, everything, grids.weights[points]
            elif len(which):
                yield values[:, which], which, grids.weights[points]


def _density(ao: Array, moved: Array) -> Array:
    """Density and, of a GGA, its derivatives, (k, points)."""
    rho = np.einsum("kag,ag->kg", ao, moved)
    rho[1:] *= 2
    return np.asarray(rho)


def _moving(ao: Array, moved: Array, turned: Array, factors: Array) -> Array:
    """Derivative of the energy with respect to displacements of functions, but for the factor −2, (a, 3)."""
    first = turned + factors[0] * moved
    gradient = np.stack([np.einsum("ag,ag->a", ao[1 + i], first) for i in range(3)], 1)
    for j in range(1, len(factors)):
        second = factors[j] * moved
        for i in range(3):
            gradient[:, i] += np.einsum("ag,ag->a", ao[SECOND[i][j - 1]], second)
    return np.asarray(gradient)


def _add(total: Array, which: Any, block: Array) -> None:
    if len(which) == len(total):
        total += block
    else:
        total[which[:, None], which] += block
