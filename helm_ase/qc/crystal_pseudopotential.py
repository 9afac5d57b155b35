"""GTH pseudopotentials of crystals without the long-ranged part −Z erf(r / √2 r_loc) / r.

What is left reaches one or two bohr: polynomials times a Gaussian, and projectors.  Both are exact here.

References
----------
Hartwigsen, Goedecker, Hutter, Phys. Rev. B 58, 3641 (1998).
"""

import math
from typing import Any

import numpy as np
from pyscf import gto

from helm_ase.qc.crystal_integrals import SMALLEST_FIELD, Array, CrystalIntegrals, three_centre, with_image
from helm_ase.units import BOHR_IN_ANGSTROM

LOCAL = ("int3c1e", "int3c1e_r2_origk", "int3c1e_r4_origk", "int3c1e_r6_origk")
PROJECTORS = ("int1e_ovlp", "int1e_r2_origi", "int1e_r4_origi")
SMALLEST_FUNCTION = 1e-10
"""Value of its Gaussian, relative to that at the nucleus, below which a function meets no projector."""


def pseudopotential(parts: CrystalIntegrals) -> Array:
    """Short-ranged part of all pseudopotentials, Hartree, for the half of the translations, (n, A, A)."""
    if not parts.content._pseudo:
        return np.zeros_like(parts.kinetic)
    return local_part(parts) + projector_part(parts)


def local_part(parts: CrystalIntegrals) -> Array:
    """Polynomials times a Gaussian on all images of the atoms, (n, A, A)."""
    from pyscf.pbc.gto.pseudo import pp_int

    potential = np.zeros_like(parts.kinetic)
    for order, name in enumerate(LOCAL, 1):
        shells = pp_int.fake_cell_vloc(parts.content, order)
        for z in np.unique(parts.numbers).tolist():
            own = [k for k in range(shells.nbas) if parts.numbers[shells.bas_atom(k)] == z]
            if not own:
                continue
            width = float(shells.bas_exp(own[0])[0])
            for place, vector in enumerate(parts.lattice.vectors(parts.half) / BOHR_IN_ANGSTROM):
                tables = with_image(parts.content, vector)
                for i, j, sites in parts.near_pairs(place, vector, z, width):
                    copies = _on_sites(shells, own[0], sites)
                    block, rows, columns = three_centre(parts.content, tables, (i, j), copies, f"{name}_sph")
                    potential[place, rows, columns] += block.sum(2)
    return potential


def _on_sites(shells: Any, shell: int, sites: Array) -> Any:
    """``Mole`` with one shell of another on every site (bohr)."""
    copies, count, end = gto.Mole(), len(sites), len(shells._env)
    copies._env = np.concatenate([shells._env, sites.ravel()])
    copies._atm = np.repeat(shells._atm[:1], count, 0)
    copies._atm[:, gto.PTR_COORD] = end + 3 * np.arange(count)
    copies._bas = np.repeat(shells._bas[shell : shell + 1], count, 0)
    copies._bas[:, gto.ATOM_OF] = np.arange(count)
    return copies


def projector_part(parts: CrystalIntegrals) -> Array:
    """Σ_R ⟨μ 0|p R⟩ h ⟨p R|ν T⟩, (n, A, A)."""
    from pyscf.pbc.gto.pseudo import pp_int

    projectors, strengths = pp_int.fake_cell_vnl(parts.content)
    if not strengths:
        return np.zeros_like(parts.kinetic)
    positions = parts.content.atom_coords() * BOHR_IN_ANGSTROM
    widest = min(float(parts.content.bas_exp(k).min()) for k in range(parts.content.nbas))
    reach = math.sqrt(-math.log(SMALLEST_FUNCTION) / widest)
    cells = parts.lattice.translations(reach * BOHR_IN_ANGSTROM, positions)
    met, strength = [], _joined(projectors, strengths)
    for vector in parts.lattice.vectors(cells) / BOHR_IN_ANGSTROM:  # the functions move by −R, not the others
        met.append(_overlaps(parts.content, projectors, strengths, -vector))
    c = np.stack(met)  # (R, projectors, A): ⟨p R|ν 0⟩
    near = np.abs(c).max((1, 2)) > SMALLEST_FIELD * 1e-2
    cells, c = cells[near], c[near]
    places = {tuple(r): k for k, r in enumerate(cells.tolist())}
    padded = np.concatenate([c, np.zeros((1, *c.shape[1:]))])
    left = np.einsum("rpa,pq->rqa", c, strength)
    blocks = []
    for t in parts.half:  # ⟨p R|ν T⟩ is that of R − T
        index = [places.get(tuple(x), -1) for x in (cells - t).tolist()]
        blocks.append(np.tensordot(left, padded[index], axes=([0, 1], [0, 1])))
    return parts.within_reach(np.stack(blocks))


def _overlaps(content: Any, projectors: Any, strengths: list[Array], vector: Array) -> Array:
    """⟨p|ν shifted⟩ of all projectors, those of one block after the other, (projectors, A)."""
    image = content.copy()
    image._env = content._env.copy()
    for axis in range(3):
        image._env[content._atm[:, gto.PTR_COORD] + axis] += vector[axis]
    parts = [
        gto.intor_cross(name, _blocks(projectors, strengths, i), image) for i, name in enumerate(PROJECTORS)
        if any(len(h) > i for h in strengths)
    ]  # fmt: skip
    taken, rows = [0] * len(parts), []
    for block, h in enumerate(strengths):
        size = 2 * projectors.bas_angular(block) + 1
        for i in range(len(h)):
            rows.append(parts[i][taken[i] : taken[i] + size])
            taken[i] += size
    return np.concatenate(rows)


def _blocks(projectors: Any, strengths: list[Array], order: int) -> Any:
    """The projectors of at least ``order`` + 1 radial functions."""
    some = projectors.copy(deep=False)
    some._bas = projectors._bas[[len(h) > order for h in strengths]]
    return some


def _joined(projectors: Any, strengths: list[Array]) -> Array:
    """h between all projectors, in the order of :func:`_overlaps`."""
    sizes = [len(h) * (2 * projectors.bas_angular(k) + 1) for k, h in enumerate(strengths)]
    joined, first = np.zeros((sum(sizes), sum(sizes))), 0
    for k, (h, size) in enumerate(zip(strengths, sizes, strict=True)):
        joined[first : first + size, first : first + size] = np.kron(
            h, np.eye(2 * projectors.bas_angular(k) + 1)
        )
        first += size
    return joined
