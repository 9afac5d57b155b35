"""Coulomb and exchange through density fitting: matrices and nuclear gradient from the tensor in memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from pyscf import df, gto, lib
from pyscf.df.incore import LINEAR_DEP_THR

Array = NDArray[np.float64]

BLOCK_WORDS = 2**20
"""Numbers of an unpacked part of the tensor: 8 MiB."""
NEGLIGIBLE = 1e-12
"""Occupation of an eigenvector of a density matrix that is left out."""


class StoredFit(df.DF):
    """PySCF's density fitting with the matrix products done by NumPy's BLAS."""

    def get_jk(
        self, dm: Any, hermi: int = 1, with_j: bool = True, with_k: bool = True,
        direct_scf_tol: float = 1e-13, omega: float | None = None,
    ) -> Any:  # fmt: skip
        """Coulomb and exchange matrices of symmetric density matrices, (…, A, A); other cases are left to
        PySCF."""
        if self._cderi is None:
            self.build()
        if omega or hermi != 1 or np.iscomplexobj(dm) or not self.in_memory:
            return super().get_jk(dm, hermi, with_j, with_k, direct_scf_tol, omega)
        densities = np.asarray(dm).reshape(-1, *np.shape(dm)[-2:])
        j = self._coulomb(densities).reshape(np.shape(dm)) if with_j else None
        k = self._exchange(occupied(dm)).reshape(np.shape(dm)) if with_k else None
        return j, k

    @property
    def in_memory(self) -> bool:
        """Whether the tensor has been computed and is not on disk."""
        return isinstance(self._cderi, np.ndarray)

    def _coulomb(self, densities: Array) -> Array:
        tensor = self._cderi
        return np.asarray(lib.unpack_tril((tensor @ packed(densities).T).T @ tensor))

    def _exchange(self, orbitals: list[tuple[Array, Array]]) -> Array:
        size = len(orbitals[0][0])
        exchange = np.zeros((len(orbitals), size, size))
        for part in self.unpacked():
            for k, (vectors, signs) in zip(exchange, orbitals, strict=True):
                half = np.matmul(vectors.T, part)
                flat = half.reshape(-1, size)
                signed = flat if (signs > 0).all() else (half * signs[:, None]).reshape(-1, size)
                k += flat.T @ signed
        return exchange

    def unpacked(self) -> Iterator[Array]:
        """The tensor in parts, (p, A, A)."""
        size = int(np.sqrt(2 * self._cderi.shape[1]))
        step = max(4, BLOCK_WORDS // size**2)
        buffer = np.empty((step, size, size))
        for start in range(0, len(self._cderi), step):
            yield lib.unpack_tril(self._cderi[start : start + step], out=buffer)

    def gradient(self, densities: Array, orbitals: list[Array], exchange: float) -> Array:
        """Nuclear gradient of E_J + exchange × E_K by the integrals alone, Hartree/Bohr, (N, 3).

        Derivatives of the integrals with respect to the place of an auxiliary function follow from those
        of its two partners, since all three may move together.

        Parameters
        ----------
        densities
            Densities of both spins together, or one for each, (S, A, A).
        orbitals
            Occupied orbitals of each spin, (A, n), n > 0; of a closed shell those of one spin, counted twice.
        exchange
            Share of exact exchange.
        """
        total = densities.sum(0)
        weight = exchange * (2 if len(densities) == 1 else 1)
        fit = self._back(self._cderi @ packed(total[None])[0])
        pairs = [self._back(self._pairs(c)) for c in orbitals] if exchange else []
        metric = 0.5 * np.outer(fit, fit)
        for b in pairs:
            flat = b.reshape(len(b), -1)
            metric -= 0.5 * weight * (flat @ flat.T)
        gradient = self._metric_gradient(metric)
        name = self.mol._add_suffix("int3c2e_ip1")
        together = gto.mole.conc_env(
            self.mol._atm, self.mol._bas, self.mol._env, self.auxmol._atm, self.auxmol._bas, self.auxmol._env
        )
        optimiser = gto.moleintor.make_cintopt(*together, name)
        for shells, functions in self._auxiliary_blocks():
            two = fit[functions, None, None] * total
            for b, c in zip(pairs, orbitals, strict=bool(pairs)):
                two -= weight * np.matmul(np.matmul(c, b[functions]), c.T)
            gradient += self._integral_gradient(shells, functions, two, name, optimiser)
        return gradient

    def _pairs(self, orbitals: Array) -> Array:
        """The tensor between occupied orbitals, (P, n, n)."""
        return np.concatenate([np.matmul(np.matmul(orbitals.T, x), orbitals) for x in self.unpacked()])

    def _back(self, values: Array) -> Array:
        """Coefficients of auxiliary functions from numbers in the tensor's orthonormal ones."""
        flat = values.reshape(len(values), -1)
        metric = self.auxmol.intor("int2c2e", hermi=1)
        try:
            lower = scipy.linalg.cholesky(metric, lower=True)
            solution = scipy.linalg.solve_triangular(lower, flat, lower=True, trans=1, check_finite=False)
        except scipy.linalg.LinAlgError:  # as PySCF did when it made the tensor
            w, v = scipy.linalg.eigh(metric)
            solution = (v[:, w > LINEAR_DEP_THR] / np.sqrt(w[w > LINEAR_DEP_THR])) @ flat
        return np.asarray(solution).reshape(-1, *values.shape[1:])

    def _metric_gradient(self, weights: Array) -> Array:
        first = self.auxmol.intor("int2c2e_ip1")
        rows = 2 * np.einsum("xpq,pq->px", first, weights)
        return by_atom(self.auxmol, rows)

    def _auxiliary_blocks(self) -> Iterator[tuple[tuple[int, int], slice]]:
        """Shells and functions of the auxiliary basis a few at a time."""
        places = self.auxmol.ao_loc_nr()
        most = max(BLOCK_WORDS // self.mol.nao**2, int(np.diff(places).max()))
        start = 0
        while start < self.auxmol.nbas:
            end = int(np.searchsorted(places, places[start] + most, side="right")) - 1
            yield (start, end), slice(int(places[start]), int(places[end]))
            start = end

    def _integral_gradient(
        self, shells: tuple[int, int], functions: slice, weights: Array, name: str, optimiser: Any
    ) -> Array:
        mol, aux = self.mol, self.auxmol
        window = (0, mol.nbas, 0, mol.nbas, *shells)
        first = df.incore.aux_e2(mol, aux, name, "s1", 3, cintopt=optimiser, shls_slice=window)
        moved = np.stack([np.einsum("pnm,pnm->pm", x.transpose(2, 1, 0), weights) for x in first], 2)
        at = np.zeros((aux.nao, 3))
        at[functions] = 2 * moved.sum(1)
        return by_atom(aux, at) - by_atom(mol, 2 * moved.sum(0))


def occupied(dm: Any) -> list[tuple[Array, Array]]:
    """Vectors (A, n) and signs (n,) of each matrix, of which it is the signed sum of squares."""
    if getattr(dm, "mo_coeff", None) is not None:
        size = np.shape(dm)[-1]
        rows = np.reshape(dm.mo_occ, (-1, np.shape(dm.mo_occ)[-1]))
        coefficients = np.reshape(dm.mo_coeff, (len(rows), size, -1))
        if len(rows) == np.size(dm) // size**2:
            return [(c[:, n > 0] * np.sqrt(n[n > 0]), np.ones(int((n > 0).sum())))
                    for c, n in zip(coefficients, rows, strict=True)]  # fmt: skip
    orbitals = []
    for matrix in np.asarray(dm).reshape(-1, *np.shape(dm)[-2:]):
        n, c = scipy.linalg.eigh(matrix)
        keep = np.abs(n) > NEGLIGIBLE
        orbitals.append((c[:, keep] * np.sqrt(np.abs(n[keep])), np.sign(n[keep])))
    return orbitals


def packed(densities: Array) -> Array:
    """Lower triangles, whose product with a packed symmetric matrix is the trace, (S, pairs)."""
    twice = lib.pack_tril(np.asarray(densities + densities.transpose(0, 2, 1)))
    diagonal = np.arange(densities.shape[-1])
    twice[:, diagonal * (diagonal + 1) // 2 + diagonal] *= 0.5
    return np.asarray(twice)


def by_atom(mol: Any, rows: Array) -> Array:
    """Sums over the functions of each atom, (N, …)."""
    return np.stack([rows[start:end].sum(0) for start, end in mol.aoslice_by_atom()[:, 2:]])
