"""Pairs of molecules at a random distance and orientation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from helm_ase.sampling.molecules import Molecule, from_smiles
from helm_ase.sampling.seeds import derive_seed
from helm_ase.sampling.settings import SamplingSettings


def choose_pairs(
    molecules: Sequence[Molecule], settings: SamplingSettings
) -> list[tuple[Molecule, Molecule]]:
    """Pairs with the partners asked for and ``settings.dimers`` random ones, with themselves included.

    Only single molecules pair, at most one of the two with unpaired electrons (the coupling of two spins is
    not for us to decide), and not two charges of one sign.
    """
    single = [m for m in molecules if _is_connected(m.bonds)]
    pairs = [
        (a, b)
        for i, a in enumerate(single)
        for b in single[i:]
        if a.heavy_atoms + b.heavy_atoms <= settings.dimer_heavy_atoms and not refused(a, b)
    ]
    chosen = [pair for pair in partner_pairs(molecules, settings) if not refused(*pair)]
    if not pairs:
        return chosen
    picks = [derive_seed(settings.seed, "pair", index) % len(pairs) for index in range(settings.dimers)]
    return chosen + [pairs[pick] for pick in picks]


def partner_pairs(
    molecules: Sequence[Molecule], settings: SamplingSettings
) -> list[tuple[Molecule, Molecule]]:
    """Every molecule with every partner that was asked for, as often as was asked for."""
    partners = [from_smiles(smiles) for smiles in settings.partners]
    return [(m, p) for m in molecules for p in partners for _ in range(settings.partner_geometries)]


def refused(first: Molecule, second: Molecule) -> str:
    """Why two molecules do not pair; empty if they do."""
    if not (_is_connected(first.bonds) and _is_connected(second.bonds)):
        return "only single molecules pair"
    if min(first.multiplicity, second.multiplicity) > 1:
        return "both have unpaired electrons"
    return "charges of one sign" if first.charge * second.charge > 0 else ""


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


def _is_connected(bonds: NDArray[np.bool_]) -> bool:
    from helm_ase.representation.connectivity import fragments

    return int(fragments(bonds).max()) == 0
