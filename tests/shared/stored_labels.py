"""Labels for the tests of files: invented numbers of the right shapes, for no SCF is needed to store them."""

import numpy as np

from helm_ase.labels.writer import LabelWriter
from helm_ase.representation import LabelledMolecule
from shared.sample_labels import TINY

SHELLS = {1: 1, 6: 5, 8: 5}
"""Functions of STO-3G."""
FORMULAS = {"O": [8, 1, 1], "C": [6, 1, 1, 1, 1], "CO": [6, 8, 1, 1, 1, 1], "[H][H]": [1, 1]}


def invented(
    seed: int, formula: str = "O", spins: int = 1, everything: bool = True, **fields
) -> LabelledMolecule:
    """One molecule with random numbers in every field; ``fields`` replace them."""
    rng = np.random.default_rng(seed)
    numbers = np.array(FORMULAS[formula])
    n, a = len(numbers), sum(SHELLS[z] for z in numbers)
    spin = () if spins == 1 else (2,)
    h, d = rng.normal(size=(2, *spin, a, a))
    answers = {
        "energy": float(rng.normal()),
        "forces": rng.normal(size=(n, 3)),
        "dipole": rng.normal(size=3),
        "orbital_energies": np.sort(rng.normal(size=(*spin, a))),
        "occupations": rng.integers(0, 2, size=(*spin, a)).astype(float),
        "density": d + d.swapaxes(-1, -2),
        "mulliken_charges": rng.normal(size=n),
        "polarizability": rng.normal(size=(3, 3)),
    }
    record = {
        "name": f"entry {seed} µ",
        "numbers": numbers,
        "positions": rng.normal(size=(n, 3)) + 3.0 * np.arange(n)[:, None],
        "hamiltonian": h + h.swapaxes(-1, -2),
        "multiplicity": 1 if spins == 1 else 3,
        "smiles": formula,
        "split": "train",
        "details": {"seed": seed, "route": "ähnlich"},
    }
    return LabelledMolecule(**(record | (answers if everything else {}) | fields))


def write(path, labels, **settings):
    """Write labels into a file of the package's own."""
    with LabelWriter(path, TINY, **settings) as writer:
        for label in labels:
            writer.add(label)
    return path


def assert_same(first: LabelledMolecule, second: LabelledMolecule, rtol: float = 1e-12) -> None:
    """All fields of both agree."""
    for name in LabelledMolecule.__dataclass_fields__:
        a, b = getattr(first, name), getattr(second, name)
        if isinstance(a, np.ndarray):
            np.testing.assert_allclose(b, a, rtol=rtol, err_msg=name)
        elif isinstance(a, float):
            np.testing.assert_allclose(b, a, rtol=1e-12, err_msg=name)
        else:
            assert a == b, name
