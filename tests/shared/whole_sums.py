"""Sums over all clouds of electrons, with nothing left out: what the package's own sums are compared with."""

import numpy as np
from pyscf import df, lib

from helm_ase.qc.atomic_operators import clouds_of


def screening(mole, atoms, exponents, electrons):
    """Potential energy of an electron in the field of s Gaussians on some atoms, Hartree, (A, A).

    ``electrons`` holds the content of each Gaussian, (k,), or that of each atom and Gaussian, (atoms, k).
    """
    contents = np.broadcast_to(electrons, (len(atoms), len(exponents)))
    clouds = clouds_of(mole.atom_coords()[atoms], exponents, contents)
    return lib.unpack_tril(df.incore.aux_e2(mole, clouds, "int3c2e", aosym="s2ij").sum(1))
