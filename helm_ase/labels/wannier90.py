"""Tight-binding files of Wannier90, which PythTB, WannierTools and others read: ``_hr.dat``, ``_centres.xyz``
and ``.win``.

They hold matrix elements between orthonormal functions in eV, and no overlap: make H(T) orthonormal with
:func:`helm_ase.electronic.orthogonalisation.orthogonalised` first.  PythTB makes a model of them with
``pythtb.w90(folder, prefix).model()``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.errors import BasisError, DatasetError
from helm_ase.representation.lattice import filled_cell
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from helm_ase.system.atomic_write import whole_file
from helm_ase.units import HARTREE_IN_EV

PER_LINE = 15
"""Degeneracies in a line of ``_hr.dat``."""


@dataclass(frozen=True)
class TightBinding:
    """Contents of the three files."""

    cell: NDArray[np.float64]
    """Å, (3, 3)."""
    centres: NDArray[np.float64]
    """Places of the W functions, Å, (W, 3)."""
    atoms: Atoms
    translations: NDArray[np.int64]
    """(n_T, 3)."""
    values: NDArray[np.complex128]
    """⟨0 m| H |T n⟩, eV, divided by the degeneracy of T, (n_T, W, W)."""


def write_wannier90(
    prefix: str | Path, hamiltonian: RealSpaceMatrix, atoms: Atoms, zero: float = 0.0
) -> list[Path]:
    """Write ``PREFIX_hr.dat``, ``PREFIX_centres.xyz`` and ``PREFIX.win``; returns their paths.

    Images that share a pair of atoms (Wigner–Seitz) have their shares in the elements: every degeneracy is 1.

    Parameters
    ----------
    prefix
        Path without the endings.
    hamiltonian
        H(T), Hartree, over orthonormal functions.
    atoms
        The crystal; directions that are not periodic get a cell vector with vacuum.
    zero
        Energy in eV that is taken off the diagonal, e.g. the Fermi level.

    Raises
    ------
    BasisError
        If matrix and atoms do not fit.
    """
    if not np.array_equal(atoms.numbers, hamiltonian.numbers):
        raise BasisError("the matrix belongs to other atoms")
    prefix = Path(prefix)
    size = hamiltonian.values.shape[1]
    home = np.where(hamiltonian.translations.any(1), 0.0, 1.0)
    values = hamiltonian.values * HARTREE_IN_EV - zero * home[:, None, None] * np.eye(size)
    centre = hamiltonian.basis.atoms_of_functions(hamiltonian.numbers)
    texts = {
        f"{prefix.name}_hr.dat": _hr(hamiltonian.translations, values),
        f"{prefix.name}_centres.xyz": _centres(atoms, centre),
        f"{prefix.name}.win": _win(atoms, size),
    }
    for name, text in texts.items():
        with whole_file(prefix.with_name(name)) as partial:
            partial.write_text(text, encoding="utf8")
    return [prefix.with_name(name) for name in texts]


def _hr(translations: NDArray[np.int64], values: NDArray[np.float64]) -> str:
    size = values.shape[1]
    lines = ["H(T) in eV, written by helm-ase", str(size), str(len(translations))]
    ones = ["1"] * len(translations)
    lines += ["".join(f"{x:>5}" for x in ones[k : k + PER_LINE]) for k in range(0, len(ones), PER_LINE)]
    for t, block in zip(translations.tolist(), values, strict=True):
        head = "".join(f"{x:5d}" for x in t)
        for n in range(size):  # the first index runs fastest
            lines += [f"{head}{m + 1:5d}{n + 1:5d}{block[m, n]:20.12f}{0.0:20.12f}" for m in range(size)]
    return "\n".join(lines) + "\n"


def _centres(atoms: Atoms, centre: NDArray[np.int64]) -> str:
    rows = [("X", atoms.positions[k]) for k in centre]
    rows += list(zip(atoms.get_chemical_symbols(), atoms.positions, strict=True))
    lines = [f"{name:<4}" + "".join(f"{x:20.12f}" for x in place) for name, place in rows]
    return "\n".join([str(len(rows)), "Wannier centres, written by helm-ase", *lines]) + "\n"


def _win(atoms: Atoms, size: int) -> str:
    cell = ["".join(f"{x:20.12f}" for x in row) for row in filled_cell(atoms)]
    places = zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)
    rows = [f"{name:<4}" + "".join(f"{x:20.12f}" for x in place) for name, place in places]
    lines = [f"num_wann = {size}", "begin unit_cell_cart", "ang", *cell, "end unit_cell_cart"]
    return "\n".join([*lines, "begin atoms_cart", "ang", *rows, "end atoms_cart"]) + "\n"


def read_wannier90(prefix: str | Path) -> TightBinding:
    """Read the three files.

    Raises
    ------
    DatasetError
        If one is missing or holds something else.
    """
    prefix = Path(prefix)
    try:
        cell, atoms = _read_win(_words(prefix, ".win"))
        translations, values = _read_hr(_words(prefix, "_hr.dat"))
        lines = _words(prefix, "_centres.xyz")[2:]
        centres = np.array([[float(x) for x in line[1:4]] for line in lines if line[0] == "X"])
        if len(centres) != values.shape[1]:
            raise ValueError(f"{len(centres)} centres of {values.shape[1]} functions")
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise DatasetError(f"{prefix}: these are no files of Wannier90 ({error})") from error
    return TightBinding(cell, centres, atoms, translations, values)


def _words(prefix: Path, ending: str) -> list[list[str]]:
    text = prefix.with_name(prefix.name + ending).read_text(encoding="utf8")
    return [line.split() for line in text.splitlines()]


def _read_hr(lines: list[list[str]]) -> tuple[NDArray[np.int64], NDArray[np.complex128]]:
    size, count = int(lines[1][0]), int(lines[2][0])
    end = 3 + -(-count // PER_LINE)
    degeneracy = np.array([int(x) for line in lines[3:end] for x in line])
    table = np.array([[float(x) for x in line] for line in lines[end:] if line])
    if size < 1 or len(degeneracy) != count or table.shape != (count * size**2, 7) or (degeneracy < 1).any():
        raise ValueError(f"{len(table)} elements do not fit {count} translations of {size} functions")
    table = table.reshape(count, size, size, 7)
    values = np.zeros((count, size, size), np.complex128)
    m, n = (table[..., k].astype(np.int64) - 1 for k in (3, 4))
    if m.min() < 0 or n.min() < 0:
        raise ValueError("functions are numbered from 1")
    values[np.arange(count)[:, None, None], m, n] = table[..., 5] + 1j * table[..., 6]
    return table[:, 0, 0, :3].astype(np.int64), values / degeneracy[:, None, None]


def _read_win(lines: list[list[str]]) -> tuple[NDArray[np.float64], Atoms]:
    cell = np.array([[float(x) for x in row] for row in _block(lines, "unit_cell_cart")])
    rows = _block(lines, "atoms_cart")
    places = [[float(x) for x in row[1:4]] for row in rows]
    return cell, Atoms([row[0] for row in rows], places, cell=cell, pbc=True)


def _block(lines: list[list[str]], name: str) -> list[list[str]]:
    words = [[w.lower() for w in line] for line in lines]
    if ["begin", name] not in words or ["end", name] not in words:
        raise ValueError(f"no block {name}")
    rows = lines[words.index(["begin", name]) + 1 : words.index(["end", name])]
    if rows and len(rows[0]) == 1:
        if rows[0][0].lower() not in ("ang", "angstrom"):
            raise ValueError(f"{name} is in {rows[0][0]}; only Å is read")
        rows = rows[1:]
    return rows
