"""Record of a training set: the neighbours that atoms have, lengths of bonds, charges and multiplicities.

Distances between elements alone (:mod:`~helm_ase.representation.coverage`) do not tell a stretched F2 from
the two fluorine atoms of a CF2 group.  Bonds do: an atom without its neighbours, a bond longer than any in
training, or a molecule that has dissociated into two radicals did not occur in training.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.connectivity import BOND_FACTOR, bond_matrices, fragments

FACTORS = (BOND_FACTOR, 1.5)
"""Two criteria for bonds: atoms are bonded if they are closer than this factor times the sum of their
covalent radii.  Between the two limits lie both stretched bonds and close contacts, so an atom counts as
known if it is known by either criterion."""
SHARED_HYDROGEN = 1.8
"""The same for a hydrogen that is this near to two heavy atoms, where fragments are told apart: on its way
from one to the other a proton is far from both."""
CRITERIA = (*FACTORS, SHARED_HYDROGEN)
VALENCE = dict.fromkeys((1, 9, 17, 35, 53), 1) | dict.fromkeys((8, 16, 34), 2) | {
    5: 3, 7: 3, 15: 3, 33: 3, 6: 4, 14: 4, 32: 4,
}  # fmt: skip
"""Single bonds of an element; with fewer neighbours its atom is unsaturated."""
BIN_WIDTH = 0.2
"""Interval of bond lengths, Å, for which only one warning is issued."""
DONORS = frozenset({7, 8, 15, 16, 17, 33, 34, 35, 53})
"""Elements with lone pairs."""
MARGIN = 0.1
"""Å by which a bond may be shorter or longer than any in training without a warning."""
BREAKING, COLLAPSE = 0.35, 0.2
"""Å by which a bond must be longer than any in training to count as broken, and shorter to count as
collapsed."""


RARE = 1e-3
"""Smallest fraction of the geometries in which an environment must occur to count as known."""
RARE_STATE = 1e-2
"""The same for a charge with a multiplicity."""
MOST = 10**12
"""Largest plausible number of geometries."""
RARELY_OPEN = 5e-3
"""The same for dissociation into radicals: a few stretched bonds among thousands of molecules do not teach a
model how all bonds break."""
ONIUM = {7: 4, 15: 4, 33: 4, 8: 3, 16: 3, 34: 3}
"""Neighbours of an element in onium ions."""
BESIDE_CATIONS = (1, 6, 7, 14)
"""Elements bonded to the charged atom of the cations that are recognised; beside oxygen, sulfur, phosphorus
and nitrogen have as many neighbours in neutral molecules (sulfones, phosphates, N-oxides)."""


class Environment(NamedTuple):
    """Neighbours of an atom, as far as needed to decide whether it has an open valence."""

    element: int
    """Atomic number."""
    neighbours: int
    hydrogens: int
    """Among the neighbours."""
    unsaturated: bool
    """Whether a neighbour has fewer bonds than its valence."""

    @property
    def is_open(self) -> bool:
        """Whether it has fewer neighbours than its valence and none to share a multiple bond with."""
        return self.neighbours < VALENCE.get(self.element, 0) and not self.unsaturated


BondKind = tuple[int, int, int, int]
"""Element and number of neighbours of one end, then of the other; the lower pair first."""


class BondFault(NamedTuple):
    """Bond, environment of an atom, or charge with multiplicity, that was rare or absent in training."""

    text: str
    """In words, with the number behind it."""
    broken: bool
    """Whether a bond is broken or atoms have collapsed; else it is only uncommon."""
    key: tuple[int, ...]
    """What it is about, the length of a bond to 0.2 Å: faults of one key need no second warning."""


@dataclass(frozen=True)
class BondCoverage:
    """Environments of atoms and lengths of bonds that occurred in training."""

    environments: frozenset[Environment]
    lengths: Mapping[BondKind, tuple[float, float]]
    """Kind of bond → shortest and longest, Å."""
    open_fragments: int = 0
    """Most fragments of one molecule with an odd number of electrons, as :func:`open_fragments` counts them,
    that were not rare."""
    molecules: int = 0
    """From how many geometries this was collected."""
    states: Mapping[ChargeState, int] = field(default_factory=dict)
    """How many of the geometries had a charge and a multiplicity; empty if that is not known."""
    free_atoms: frozenset[tuple[int, int, int]] = frozenset()
    """Element, charge and multiplicity of the geometries that were one atom; these have no bonds that could
    be broken, but are too few to be learnt well."""

    @classmethod
    def collect(
        cls, molecules: Iterable[tuple[NDArray[np.int64], NDArray[np.float64], ChargeState]]
    ) -> "BondCoverage":
        """Collect a record from geometries given as (numbers, positions in Å, charge and multiplicity)."""
        environments: Counter[Environment] = Counter()
        lengths: dict[BondKind, tuple[float, float]] = {}
        opened: Counter[int] = Counter()
        states: Counter[ChargeState] = Counter()
        free: set[tuple[int, int, int]] = set()
        for numbers, positions, state in molecules:
            matrices = bond_matrices(numbers, positions, CRITERIA)
            readings = [_Reading.of(numbers, positions, matrix) for matrix in matrices[:-1]]
            reading = min(readings, key=_Reading.open_valences)  # the stricter one, where both make sense
            environments.update(set(reading.environments))
            for (i, j), length in reading.bonds.items():
                kind = reading.kind(i, j)
                low, high = lengths.get(kind, (length, length))
                lengths[kind] = min(low, length), max(high, length)
            opened[_open_fragments(numbers, matrices, state)] += 1
            states[state] += 1
            if len(numbers) == 1:
                free.add((int(numbers[0]), int(state.charge), int(state.multiplicity)))
        count = opened.total()
        common = frozenset(e for e, n in environments.items() if n >= RARE * count)
        usual = max((k for k, n in opened.items() if n >= RARELY_OPEN * count), default=0)
        return cls(common, lengths, usual, count, dict(states), frozenset(free))

    @classmethod
    def of_closed_shells(cls) -> "BondCoverage":
        """Record without bonds, for which only dissociation into radicals or ions is unknown."""
        return cls(frozenset(), {})

    def faults(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], state: ChargeState
    ) -> list[BondFault]:
        """Bonds and environments that did not occur in training; empty if all are known.

        Parameters
        ----------
        numbers, positions
            Atomic numbers, (N,), and positions in Å, (N, 3).
        state
            Charge and multiplicity.
        """
        if len(numbers) == 1 and (int(numbers[0]), *state) in self.free_atoms:
            text = f"a free atom {chemical_symbols[numbers[0]]}: rare in training"
            return [BondFault(text, False, (int(numbers[0]), -1))]
        matrices = bond_matrices(numbers, positions, CRITERIA)
        readings = [_Reading.of(numbers, positions, matrix) for matrix in matrices[:-1] if self.environments]
        per_atom = [self._of_atoms(reading) for reading in readings]
        odd = [k for k in range(len(numbers)) if per_atom and all(faults[k] for faults in per_atom)]
        reasons = list(dict.fromkeys(fault for k in odd for fault in _telling(per_atom, k)))
        parts = _open_fragments(numbers, matrices, state)
        if parts > self.open_fragments:
            text = f"{parts} fragments with an odd number of electrons, radicals or ions"
            reasons.insert(0, BondFault(f"{text}: bonds are broken", True, (parts,)))
        return self._of_state(state) + reasons

    def _of_state(self, state: ChargeState) -> list[BondFault]:
        """One fault for a charge and a multiplicity that few geometries had, else none."""
        count = self.states.get(state, 0)
        if not self.states or count >= RARE_STATE * self.molecules:
            return []
        seen = f"in {count} of {self.molecules} geometries of the training set"
        text = f"charge {state.charge:+d} with multiplicity {state.multiplicity}: {seen}"
        return [BondFault(text.replace("+0", "0"), False, (state.charge, state.multiplicity, -1))]

    def _of_atoms(self, reading: "_Reading") -> list[list[BondFault]]:
        """Faults of each atom, its bonds included, in one reading."""
        faults: list[list[BondFault]] = [[] for _ in reading.environments]
        unknown = [k for k, e in enumerate(reading.environments) if e not in self.environments]
        torn = [k for k in unknown if reading.is_torn(k)]
        for k in unknown:
            alone = not reading.neighbours[k]
            faults[k].append(self._of_environment(k, reading, alone or (k in torn and len(torn) > 1)))
        for (i, j), length in reading.bonds.items():
            fault = self._of_bond(reading, i, j, length)
            if fault is not None:
                faults[i].append(fault)
                faults[j].append(fault)
        return faults

    def _of_environment(self, k: int, reading: "_Reading", broken: bool) -> BondFault:
        environment = reading.environments[k]
        name = f"{chemical_symbols[environment.element]}{k}"
        who = ", ".join(f"{chemical_symbols[reading.numbers[j]]}{j}" for j in reading.neighbours[k])
        text = f"{name} bonded to {who or 'nothing'}"
        if environment.neighbours:
            text += ": an open valence" if broken else ": never so in training"
        return BondFault(text, broken, (k, *map(int, environment)))

    def _of_bond(self, reading: "_Reading", i: int, j: int, length: float) -> BondFault | None:
        name = "–".join(f"{chemical_symbols[reading.numbers[k]]}{k}" for k in (i, j))
        known, key = self.lengths.get(reading.kind(i, j)), (i, j, int(length / BIN_WIDTH))
        if known is None:
            return BondFault(f"{name} at {length:.2f} Å: no such bond in training", False, key)
        low, high = known
        if low - MARGIN <= length <= high + MARGIN:
            return None
        broken = not low - COLLAPSE < length < high + BREAKING
        return BondFault(f"{name} at {length:.2f} Å: {low:.2f} to {high:.2f} Å in training", broken, key)

    def to_json(self) -> dict[str, Any]:
        """Plain types for a header."""
        return {
            "environments": sorted([*map(int, e)] for e in self.environments),
            "lengths": [[*kind, round(a, 4), round(b, 4)] for kind, (a, b) in sorted(self.lengths.items())],
            "open_fragments": self.open_fragments,
            "molecules": self.molecules,
            "states": [[*map(int, state), n] for state, n in sorted(self.states.items())],
            "free_atoms": sorted([*atom] for atom in self.free_atoms),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BondCoverage":
        """Inverse of :meth:`to_json`.

        Raises
        ------
        ValueError, TypeError, KeyError
            If it is none.
        """
        environments = frozenset(
            Environment(int(z), int(n), int(h), bool(u)) for z, n, h, u in data["environments"]
        )
        lengths = {}
        for *kind, low, high in data["lengths"]:
            a, b, c, d = map(int, kind)
            if not 0 < float(low) <= float(high):
                raise ValueError(f"bonds from {low} to {high} Å")
            lengths[a, b, c, d] = float(low), float(high)
        molecules, states = int(data["molecules"]), {}
        for *state, count in data.get("states", []):
            states[ChargeState(*state)] = count
        atoms = frozenset((z, *ChargeState(*state)) for z, *state in data.get("free_atoms", []))
        whole = [*(x for state, n in states.items() for x in (*state, n)), *(x for a in atoms for x in a)]
        if any(type(x) is not int for x in whole) or any(n < 1 for n in states.values()):
            raise ValueError(f"states {data.get('states')}, free atoms {data.get('free_atoms')}")
        if not sum(states.values()) <= molecules <= MOST:
            raise ValueError(f"states of {sum(states.values())} of {molecules} geometries")
        return cls(environments, lengths, int(data["open_fragments"]), molecules, states, atoms)


def open_fragments(numbers: NDArray[np.int64], positions: NDArray[np.float64], state: ChargeState) -> int:
    """Fragments with an odd number of electrons, were they neutral, which neither ions nor unpaired electrons
    explain: multiplicity − 1 are radicals, and as many are ions as the charge asks for, and as there are
    onium, amidinium and guanidinium cations and anions beside them.

    Parameters
    ----------
    numbers, positions
        Atomic numbers, (N,), and positions in Å, (N, 3).
    state
        Charge and multiplicity.
    """
    return _open_fragments(numbers, bond_matrices(numbers, positions, CRITERIA), state)


def _open_fragments(
    numbers: NDArray[np.int64], matrices: Sequence[NDArray[np.bool_]], state: ChargeState
) -> int:
    """The same from the bonds by all criteria."""
    tight, wide, widest = matrices
    parts = fragments(wide | _shared_hydrogens(numbers, widest))
    odd = np.bincount(parts, weights=numbers).astype(int) % 2 == 1
    cations = len({k for k in parts[_charged_atoms(numbers, tight)].tolist() if odd[k]})
    ions = max(abs(state.charge), cations + max(cations - state.charge, 0))
    return max(int(odd.sum()) - ions - (state.multiplicity - 1), 0)


def _shared_hydrogens(numbers: NDArray[np.int64], near: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pairs of a heavy atom and a hydrogen that is near two or more of them, (N, N)."""
    heavy = numbers != 1
    shared = ~heavy & (near[:, heavy].sum(1) > 1)
    pairs = near & shared[:, None] & heavy
    return np.asarray(pairs | pairs.T)


def _charged_atoms(numbers: NDArray[np.int64], bonds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Central atoms of onium, amidinium and guanidinium ions, (N,), if their fragments have an odd number of
    electrons as neutral ones."""
    degree = bonds.sum(1)
    onium = degree == [ONIUM.get(int(z), -1) for z in numbers]
    flat = (numbers == 7) & (degree == 3)
    amidinium = (numbers == 6) & (degree == 3) & (bonds[:, flat].sum(1) > 1)
    plain = ~bonds[:, ~np.isin(numbers, BESIDE_CATIONS)].any(1)
    return np.asarray((onium | amidinium) & plain)


def _telling(per_atom: "list[list[list[BondFault]]]", k: int) -> list[BondFault]:
    """The criterion by which an atom has the fewest and least serious faults."""
    return min((faults[k] for faults in per_atom), key=lambda x: (sum(f.broken for f in x), len(x)))


class _Reading(NamedTuple):
    """Bonds of a geometry by one criterion: a factor of the sum of covalent radii."""

    numbers: NDArray[np.int64]
    neighbours: list[list[int]]
    environments: list[Environment]
    bonds: dict[tuple[int, int], float]
    """(i, j), i < j → length in Å."""

    @classmethod
    def of(
        cls, numbers: NDArray[np.int64], positions: NDArray[np.float64], matrix: NDArray[np.bool_]
    ) -> "_Reading":
        first, second = np.nonzero(np.triu(matrix))
        lengths = np.linalg.norm(positions[first] - positions[second], axis=1)
        degree = matrix.sum(1)
        open_ = np.array([n < VALENCE.get(int(z), 0) for z, n in zip(numbers, degree, strict=True)])
        beside_open = matrix[:, open_].sum(1) > 0
        columns = zip(numbers, degree, matrix[:, numbers == 1].sum(1), beside_open, strict=True)
        return cls(
            numbers,
            [np.flatnonzero(row).tolist() for row in matrix],
            [Environment(int(z), int(n), int(h), bool(u)) for z, n, h, u in columns],
            dict(zip(zip(first.tolist(), second.tolist(), strict=True), lengths.tolist(), strict=True)),
        )

    def open_valences(self) -> int:
        """Atoms with an open valence."""
        return sum(e.is_open for e in self.environments)

    def is_torn(self, k: int) -> bool:
        """Whether an atom has an open valence that no charge-separated formula explains, as in nitro groups
        (a terminal oxygen on a saturated atom with a lone pair)."""
        if not self.environments[k].is_open:
            return False
        donors = [j for j in self.neighbours[k] if self.numbers[j] in DONORS]
        return not (self.numbers[k] in (8, 16, 34) and len(self.neighbours[k]) == 1 and donors)

    def kind(self, i: int, j: int) -> BondKind:
        """Elements and numbers of neighbours of both ends of a bond."""
        a, b = sorted((int(self.numbers[k]), len(self.neighbours[k])) for k in (i, j))
        return *a, *b
