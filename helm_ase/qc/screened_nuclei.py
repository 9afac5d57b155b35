"""Potential of nuclei and of the clouds of electrons that screen them.

A nucleus with all its electrons is invisible from afar: where a Gaussian cloud has faded it acts like a point
charge, and is taken off the charge of its nucleus.  What is left of an ion at a distance is a point charge,
whose integrals are cheap.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import gto

from helm_ase.errors import SettingError

Array = NDArray[np.float64]
NEGLIGIBLE = 1e-9
"""Overlap of a function with a cloud below which the cloud is a point charge, and of two functions below
which their matrix element is zero."""
CHUNK = 2**24
"""Three-centre integrals held at a time: 128 MiB."""


@dataclass(frozen=True)
class Screening:
    """Clouds on every atom of one molecule."""

    atoms: NDArray[np.int64]
    """Their nuclei, (n,)."""
    exponents: Array
    """Exponents of the Gaussians on these nuclei, ascending, a0⁻², (k,)."""
    electrons: Array
    """Electrons in each, (n, k)."""


def screened_nuclei(mole: Any, parts: list[Screening]) -> Array:
    """Potential energy of an electron in the field of all nuclei and clouds, Hartree, (A, A).

    Parameters
    ----------
    mole
        PySCF ``Mole``.
    parts
        Clouds of all atoms, those of one element together.

    Raises
    ------
    SettingError
        If exponents do not ascend, or atoms are missing.
    """
    clouds = _Clouds(mole, parts)
    first, coordinates = mole.ao_loc_nr(), mole.atom_coords()
    shells = mole.aoslice_by_atom()[:, :2]
    widest = np.array([_smallest_exponent(mole, *span) for span in shells])  # (N,)
    potential = np.zeros((mole.nao, mole.nao))
    for i in range(mole.natm):
        distances = np.linalg.norm(coordinates - coordinates[i], axis=1)
        near = np.flatnonzero(distances[i:] <= reach(widest[i], widest[i:])) + i  # begins with i
        rows = np.arange(first[shells[i, 0]], first[shells[i, 1]])
        columns = np.concatenate([np.arange(first[a], first[b]) for a, b in shells[near]])
        block = clouds.block(near, clouds.distinguishable(distances, widest[i]))
        potential[np.ix_(rows, columns)] = block
        potential[np.ix_(columns, rows)] = block.T
    return potential


def reach(exponent: Any, other: Any) -> Any:
    """Distance at which two Gaussians of these exponents hardly overlap any more, bohr."""
    return np.sqrt(-np.log(NEGLIGIBLE) * (1 / exponent + 1 / other))


def _smallest_exponent(mole: Any, start: int, end: int) -> float:
    return min((float(mole.bas_exp(b).min()) for b in range(start, end)), default=np.inf)


class _Clouds:
    """Clouds as shells of one function each, in the format of libcint, cut after any number of Gaussians."""

    def __init__(self, mole: Any, parts: list[Screening]) -> None:
        self.mole, self.parts = mole, parts
        self.part = np.full(mole.natm, -1)
        self.electrons: list[Array] = [np.zeros(0)] * mole.natm
        for number, part in enumerate(parts):
            if (np.diff(part.exponents) < 0).any():
                raise SettingError(f"exponents of clouds must ascend, not {part.exponents.tolist()}")
            self.part[part.atoms] = number
            for atom, electrons in zip(part.atoms.tolist(), part.electrons, strict=True):
                self.electrons[atom] = electrons
        if len(missing := np.flatnonzero(self.part < 0)):
            raise SettingError(f"atoms {missing.tolist()} have no clouds; give them one without electrons")
        longest = max(len(e) for e in self.electrons)
        self.held = np.zeros((mole.natm, longest + 1))  # electrons in the first so many Gaussians
        for atom, electrons in enumerate(self.electrons):
            self.held[atom, 1 : len(electrons) + 1] = electrons.cumsum()
        net = mole.atom_charges() - [e.sum() for e in self.electrons]
        self.net = np.where(abs(net) < 1e-12, 0.0, net)
        self._add_shells()

    def _add_shells(self) -> None:
        """One shell for each atom."""
        env, rows = [self.mole._env], []
        place = len(self.mole._env)
        unit = gto.fakemol_for_charges(np.zeros((1, 3)), 1.0)
        one = unit._env[unit._bas[0, gto.PTR_COEFF]]  # of a cloud of exponent 1 that holds one electron
        for atom, electrons in enumerate(self.electrons):
            exponents, k = self.parts[self.part[atom]].exponents, len(electrons)
            env += [exponents, electrons * one * exponents**1.5]
            rows.append([atom, 0, k, 1, 0, place, place + k, 0])
            place += 2 * k
        self.fractions = place
        self.env = np.concatenate([*env, np.zeros(len(rows))])
        self.bas, self.atm = np.array(rows, dtype=np.int32), self.mole._atm.copy()
        self.atm[:, gto.NUC_MOD_OF] = gto.NUC_FRAC_CHARGE
        self.atm[:, gto.PTR_FRAC_CHARGE] = place + np.arange(len(rows))

    def distinguishable(self, distances: Array, exponent: float) -> NDArray[np.int64]:
        """Number of Gaussians on each atom that functions of this exponent and wider ones can tell from a
        point charge, (N,)."""
        kept = np.zeros(len(distances), dtype=np.int64)
        for number, part in enumerate(self.parts):
            own = self.part == number
            kept[own] = (distances[own, None] <= reach(exponent, part.exponents)).sum(1)
        return kept

    def block(self, atoms: NDArray[np.int64], kept: NDArray[np.int64]) -> Array:
        """Elements between the functions of the first of some atoms and those of all of them."""
        mole = self.mole
        shells = [mole.atom_shell_ids(a) for a in atoms]
        functions = mole._bas[np.concatenate(shells)]
        seen, env = np.flatnonzero(kept), self.env.copy()
        env[self.fractions :] = self.net + self.held[np.arange(len(kept)), kept]
        clouds = self.bas[seen]
        clouds[:, gto.NPRIM_OF] = kept[seen]
        span = (0, len(shells[0]), 0, len(functions))
        total = gto.moleintor.getints(
            mole._add_suffix("int1e_nuc"), self.atm, functions, env, span, comp=1, hermi=0
        )
        return np.asarray(total + self._screening(functions, clouds, env, span, total.size))

    def _screening(
        self, functions: NDArray[np.int32], clouds: NDArray[np.int32], env: Array,
        span: tuple[int, ...], size: int,
    ) -> Array:  # fmt: skip
        """Repulsion of the clouds, a number of them at a time."""
        name, n = self.mole._add_suffix("int3c2e"), len(functions)
        total, step = np.zeros(()), max(1, CHUNK // size)
        for k in range(0, len(clouds), step):
            part = clouds[k : k + step]
            values = gto.moleintor.getints(
                name, self.atm, np.vstack([functions, part]), env, (*span, n, n + len(part)), comp=1
            )
            total = total + values.sum(-1)
        return np.asarray(total)
