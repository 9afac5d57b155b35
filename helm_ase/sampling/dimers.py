"""Pairs of molecules at a random distance and orientation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from helm_ase.sampling.molecules import Molecule
from helm_ase.sampling.seeds import derive_seed
from helm_ase.sampling.settings import SamplingSettings


def choose_pairs(
    molecules: Sequence[Molecule], settings: SamplingSettings
) -> list[tuple[Molecule, Molecule]]:
    """``settings.dimers`` random pairs, a molecule with itself included.

    Only single molecules pair, at most one of the two with unpaired electrons (the coupling of two spins is
    not for us to decide), and not two charges of one sign.
    """
    single = [m for m in molecules if _is_connected(m.bonds)]
    pairs = [
        (a, b)
        for i, a in enumerate(single)
        for b in single[i:]
        if a.heavy_atoms + b.heavy_atoms <= settings.dimer_heavy_atoms
        and min(a.multiplicity, b.multiplicity) == 1
        and a.charge * b.charge <= 0
    ]
    if not pairs:
        return []
    picks = [derive_seed(settings.seed, "pair", index) % len(pairs) for index in range(settings.dimers)]
    return [pairs[pick] for pick in picks]


def join(first: Molecule, second: Molecule) -> Molecule:
    """The dimer: atoms one after the other, no bonds between them, charges added."""
    n, m = len(first.numbers), len(second.numbers)
    bonds = np.zeros((n + m, n + m), dtype=bool)
    bonds[:n, :n], bonds[n:, n:] = first.bonds, second.bonds
    known = bool(first.smiles and second.smiles)
    identity = ".".join(sorted([first.identity, second.identity]))
    return Molecule(
        identity,
        identity if known else "",
        np.concatenate([first.numbers, second.numbers]),
        bonds,
        first.charge + second.charge,
        first.multiplicity + second.multiplicity - 1,
        key=" + ".join([first.key, second.key]),
    )


def place(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    contact: tuple[float, float],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Both geometries, turned at random, the second as far away as the drawn contact distance asks; Å.

    Parameters
    ----------
    first, second
        Å, (N, 3) and (M, 3).
    contact
        Range of the closest distance between an atom of the first and one of the second, Å.

    Returns
    -------
    positions
        Å, (N + M, 3).
    """
    distance = random.uniform(*contact)
    while True:
        one, two = (_turn(x - x.mean(axis=0), random) for x in (first, second))
        direction = random.standard_normal(3)
        shift = _shift_to_contact(one, two, direction / np.linalg.norm(direction), distance)
        if shift is not None:
            return np.vstack([one, two + shift])


def _shift_to_contact(
    one: NDArray[np.float64], two: NDArray[np.float64], direction: NDArray[np.float64], distance: float
) -> NDArray[np.float64] | None:
    """Farthest shift along ``direction`` at which some pair of atoms is ``distance`` apart."""
    apart = (two[None] - one[:, None]).reshape(-1, 3)
    along = apart @ direction
    root = along**2 - (apart**2).sum(axis=1) + distance**2
    if not (root >= 0).any():  # the molecules would pass each other
        return None
    return float((np.sqrt(root[root >= 0]) - along[root >= 0]).max()) * direction


def _turn(positions: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Rotated at random, uniformly: a normalised Gaussian quaternion."""
    w, x, y, z = (q := random.standard_normal(4)) / np.linalg.norm(q)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return np.asarray(positions @ rotation.T)


def _is_connected(bonds: NDArray[np.bool_]) -> bool:
    from helm_ase.representation.connectivity import fragments

    return int(fragments(bonds).max()) == 0
