"""Integrals between cells of a crystal that H0(T) is made of."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import gto, lib

from helm_ase.qc.atomic_operators import clouds_of
from helm_ase.qc.lattice_integrals import lattice_integrals
from helm_ase.qc.molecule import atomic_numbers
from helm_ase.representation import AOBasis
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from helm_ase.units import BOHR_IN_ANGSTROM

NEGLIGIBLE = 1e-9
"""Blocks of atoms whose overlaps have a smaller norm are zero in S and H0, whatever the cell is."""

SMALLEST_FIELD = 1e-8
"""The same for fields of charges; what projectors do reaches farther, as the root of overlaps."""

MARGIN = 1e5
"""For what multiplies the exponential law by which fields of charges end: powers of distances, many sites."""

POINT_CHARGE = 1e16
"""a0⁻²: exponent of a nucleus without pseudopotential."""

Array = NDArray[np.float64]


class CrystalIntegrals:
    """What H0 is made of, for translations T of one half: zero first; PySCF's AO order.

    Parameters
    ----------
    content
        The atoms of a cell as a PySCF ``Mole``.
    lattice, basis
        Lattice and basis of the crystal.
    """

    def __init__(self, content: Any, lattice: Lattice, basis: AOBasis) -> None:
        self.content, self.lattice, self.basis = content, lattice, basis
        self.numbers = atomic_numbers(content)
        # which translations these leave out must not matter: pairs of atoms are chosen here
        s = lattice_integrals(content, basis, negligible=NEGLIGIBLE / 100, lattice=lattice).reorder("pyscf")
        kinetic = lattice_integrals(content, basis, "kinetic", NEGLIGIBLE / 100, lattice).reorder("pyscf")
        reach = self._norms_of_blocks(s.values)  # (n_T, N, N)
        kept = (reach > NEGLIGIBLE).any((1, 2))
        self.translations, self._reach = s.translations[kept], reach[kept]
        self.half = self.translations[len(self.translations) // 2 :]
        near = self._spread(self._reach > NEGLIGIBLE)
        self._near = near[len(near) // 2 :]
        self.overlap = s.values[kept] * near
        self.kinetic = np.stack([kinetic.at(t) for t in self.half]) * self._near
        self._images: dict[float, tuple[Array, NDArray[np.int64]]] = {}

    def _norms_of_blocks(self, values: Array) -> Array:
        """Norms of the blocks of two atoms, which rotations leave alone, (n_T, A, A) → (n_T, N, N)."""
        first = self.basis.offsets(self.numbers)[:-1]
        squares = np.add.reduceat(values**2, first, axis=1)
        return np.asarray(np.sqrt(np.add.reduceat(squares, first, axis=2)))

    def _spread(self, blocks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Values of pairs of atoms on all their functions, (n_T, N, N) → (n_T, A, A)."""
        count = np.diff(self.basis.offsets(self.numbers))
        return blocks.repeat(count, axis=1).repeat(count, axis=2)

    @property
    def half_overlap(self) -> Array:
        """S(T), (n, A, A)."""
        return np.asarray(self.overlap[len(self.translations) // 2 :])

    def nucleus(self, number: int) -> tuple[float, float]:
        """Charge of an element's core, and the exponent of its Gaussian, a0⁻²."""
        atom = int(np.flatnonzero(self.numbers == number)[0])
        pseudo = self.content._pseudo.get(self.content.atom_symbol(atom))
        width = POINT_CHARGE if pseudo is None else 1 / (2 * float(pseudo[1]) ** 2)
        return float(self.content.atom_charge(atom)), width

    # -- fields of charges -----------------------------------------------------------------------------

    def fields(self, number: int, exponents: Array, electrons: Array | None = None) -> Array:
        """Potential energy in the field of Gaussians on all images of the atoms of one element.

        Parameters
        ----------
        number
            Atomic number.
        exponents
            a0⁻², (k,).
        electrons
            In each Gaussian, summing to zero, (k,): the sum of their fields is wanted; None: each field of
            one electron, of which only differences mean anything.

        Returns
        -------
        NDArray
            Hartree, (n, A, A) or (k, n, A, A).
        """
        size, one = self.content.nao, electrons is not None
        potentials = np.zeros((1 if one else len(exponents), len(self.half), size, size))
        widest = float(exponents.min())
        for place, vector in enumerate(self.lattice.vectors(self.half) / BOHR_IN_ANGSTROM):
            env = with_image(self.content, vector)
            for i, j, sites in self.near_pairs(place, vector, number, widest):
                if electrons is not None:
                    charges = clouds_of(sites, exponents.tolist(), np.tile(electrons, (len(sites), 1)))
                else:
                    charges = gto.fakemol_for_charges(
                        sites.repeat(len(exponents), 0), np.tile(exponents, len(sites))
                    )
                block, rows, columns = three_centre(self.content, env, (i, j), charges)
                parts = block.reshape(*block.shape[:2], len(sites), -1).sum(2)
                potentials[:, place, rows, columns] = parts.transpose(2, 0, 1)
        return potentials[0] if one else potentials

    def near_pairs(
        self, place: int, vector: Array, number: int, widest: float
    ) -> Iterator[tuple[int, int, Array]]:
        """Atoms i of cell 0 and j of cell T that overlap, and the charges of an element that they feel.

        A product of functions is a sum of Gaussians on the line between the atoms, of exponents p and more;
        a neutral charge of exponent q at a distance D from them has a field that falls as exp(−μ D²),
        μ = p q / (p + q), times the overlap.
        """
        coords, exponents = self.content.atom_coords(), _widest_functions(self.content)
        places, elements = self._sites(widest, float(exponents.min()))
        places = places[elements == number]
        overlaps = self._reach[len(self.translations) // 2 + place]
        for i, j in np.argwhere(overlaps > SMALLEST_FIELD).tolist():
            p = exponents[i] + exponents[j]
            squares = _distances_to_line(places, coords[i], coords[j] + vector)
            near = squares * (p * widest / (p + widest)) < math.log(overlaps[i, j] * MARGIN / SMALLEST_FIELD)
            if near.any():
                yield i, j, places[near]

    def _sites(self, widest: float, smallest: float) -> tuple[Array, NDArray[np.int64]]:
        """All images of atoms near any pair, bohr, and their elements."""
        if widest not in self._images:
            positions = self.content.atom_coords() * BOHR_IN_ANGSTROM
            apart = positions[None, :] - positions[:, None]
            overlaps = self._reach[len(self.translations) // 2 :] > SMALLEST_FIELD
            longest = max(
                float((np.linalg.norm(apart + v, axis=-1) * near).max())
                for v, near in zip(self.lattice.vectors(self.half), overlaps, strict=True)
            )
            fall = widest * 2 * smallest / (widest + 2 * smallest)
            reach = math.sqrt(math.log(MARGIN / SMALLEST_FIELD) / fall) * BOHR_IN_ANGSTROM
            t = self.lattice.translations(reach + longest, positions)
            places = positions + self.lattice.vectors(t)[:, None]
            self._images[widest] = places.reshape(-1, 3) / BOHR_IN_ANGSTROM, np.tile(self.numbers, len(t))
        return self._images[widest]

    # -- projectors ------------------------------------------------------------------------------------

    def projection(self, matrix: Array) -> Array:
        """Σ_R S(R) P S(T − R), (n, A, A): operators |χ⟩ P ⟨χ| on the atoms of all cells; P is (A, A)."""
        places = {tuple(t): k for k, t in enumerate(self.translations.tolist())}
        left = self.overlap @ matrix
        padded = np.concatenate([self.overlap, np.zeros((1, *matrix.shape))])
        rows = []
        for t in self.half:
            index = [places.get(tuple(x), -1) for x in (t - self.translations).tolist()]
            rows.append(np.tensordot(left, padded[index], axes=([0, 2], [0, 1])))
        return self.within_reach(np.stack(rows))

    def within_reach(self, half: Array) -> Array:
        """Blocks of atoms that do not overlap set to zero, (n, A, A)."""
        return half * self._near

    def completed(self, half: Array, order: str = "e3nn") -> RealSpaceMatrix:
        """H(T) from its half, in canonical order."""
        symmetric = half.copy()
        symmetric[0] = 0.5 * (half[0] + half[0].T)
        whole = RealSpaceMatrix.completed(self.half, symmetric, self.numbers, self.basis, "pyscf")
        return whole.reorder("e3nn") if order == "e3nn" else whole


def _distances_to_line(places: Array, begin: Array, end: Array) -> Array:
    """Squares of the distances of places, (n, 3), to the piece of line between two points, (n,)."""
    along = end - begin
    share = np.clip((places - begin) @ along / max(float(along @ along), 1e-12), 0.0, 1.0)
    return np.asarray(((places - begin - share[:, None] * along) ** 2).sum(1))


def with_image(content: Any, vector: Array) -> tuple[Any, Any, Any]:
    """Integral tables of the cell's content and its copy, shifted by a vector (bohr)."""
    env = content._env.copy()
    for axis in range(3):
        env[content._atm[:, gto.PTR_COORD] + axis] += vector[axis]
    atm, bas, both = gto.conc_env(content._atm, content._bas, content._env, content._atm, content._bas, env)
    return atm, bas, both


def three_centre(
    content: Any,
    tables: tuple[Any, Any, Any],
    atoms: tuple[int, int],
    charges: Any,
    name: str = "int3c2e_sph",
) -> tuple[Array, slice, slice]:
    """⟨i| charge |j shifted⟩, (AOs of i, AOs of j, charges), and where it stands."""
    shells, functions = content.aoslice_by_atom()[list(atoms), :2], content.aoslice_by_atom()[list(atoms), 2:]
    everything = gto.conc_env(*tables, charges._atm, charges._bas, charges._env)
    count = content.nbas
    window = tuple(map(int, (*shells[0], *(shells[1] + count), 2 * count, 2 * count + charges.nbas)))
    values = gto.moleintor.getints(  # a scalar, known or not; tables of pairs cost more than they save
        name, *everything, shls_slice=window, comp=1, cintopt=lib.c_null_ptr()
    )
    return np.asarray(values), slice(*map(int, functions[0])), slice(*map(int, functions[1]))


def _widest_functions(content: Any) -> Array:
    """Smallest exponent on each atom, a0⁻², (N,)."""
    return np.array([
        min(float(content.bas_exp(b).min()) for b in content.atom_shell_ids(a)) for a in range(content.natm)
    ])  # fmt: skip
