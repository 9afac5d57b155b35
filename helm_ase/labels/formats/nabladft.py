"""nablaDFT and ∇²DFT: Hamiltonians of drug-like molecules in the SQLite layout of PhiSNet.

Table ``data``: ``id``, ``Z`` (int32), ``R`` (bohr), ``E`` (Eh), ``F`` (Eh/bohr), ``H``, ``S`` (full
matrices, Eh), ``C`` (the core Hamiltonian, not coefficients; not read): float32, in some copies float64.
PhiSNet's own files have no ``Z``: all entries are the molecule of table ``nuclear_charges``.
``dataset_ids`` names molecule and conformer, ``basisset`` the shells of every element.

Copies in several AO orders circulate, and nothing in the file says which.  But it holds the overlap matrix:
the order is the one in which PySCF's S over def2-SVP at the file's geometry is the file's S.

The published division is by file: ``train_2k.db`` (tiny), ``5k`` (small), ``10k`` (medium), ``100k``
(large), ``full``; for each of them ``test_2k_conformers.db``, …; and, for all of them,
``test_structures.db`` and ``test_scaffolds.db``.  There is no published validation part.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.labels.ao_order import FileOrder, OverlapSample, check_order, shells, to_pyscf
from helm_ase.labels.blobs import columns, connect, floats, integer, integers, row_ids
from helm_ase.labels.source import LabelSource
from helm_ase.representation import AOBasis, AOOrder, LabelledMolecule, LevelOfTheory
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

DESCRIPTION = "nablaDFT, ∇²DFT and PhiSNet Hamiltonians, SQLite"
PATTERNS = ("*.db",)
BASIS = "def2-svp"
REQUIRED = {"id", "R", "E", "F", "H", "S"}
LEVEL = LevelOfTheory(
    functional="hyb_gga_xc_wb97x_d",
    variant="wB97X-D; its dispersion is in energies and forces, which PySCF's functional of that name lacks. "
    "Density fitting: Psi4's default, the authors name no other",
    basis=BASIS,
    density_fitting=True,
    grid_level=3,
    conv_tol=1e-6,
    code="Psi4 1.5",
    auxiliary_basis="def2-universal-jkfit",
)
SIZES = {"tiny": "2k", "small": "5k", "medium": "10k", "large": "100k", "full": "full"}


def recognises(path: Path) -> bool:
    """Whether table ``data`` has the columns of this layout."""
    with connect(path) as connection:
        return columns(connection, "data") >= REQUIRED


def open_source(
    path: Path, ao_order: AOOrder | None = None, level: LevelOfTheory | None = None
) -> LabelSource:
    """Open a file.

    Parameters
    ----------
    path
        SQLite file.
    ao_order
        Order of its matrices; found from the overlap matrices if absent.
    level
        If its labels are not those of nablaDFT.

    Raises
    ------
    SettingError
        If the AO order is unknown.
    """
    check_order(ao_order)
    return NablaSource(path, ao_order, level or LEVEL)


class NablaSource(LabelSource):
    """Rows in the order of their ids."""

    official_splits = tuple(SIZES)

    def __init__(self, path: Path, ao_order: AOOrder | None, level: LevelOfTheory) -> None:
        super().__init__(path, level)
        self._order = FileOrder(ao_order, BASIS)
        self._columns = columns(self.file, "data")
        if missing := REQUIRED - self._columns:
            raise DatasetError(f"{path}: table data has no column {', '.join(sorted(missing))}")
        self.ids = row_ids(self.file, "data", path)
        self._has_names = columns(self.file, "dataset_ids") >= {"id", "MOSES_ID", "CONFORMER_ID"}
        self._numbers = None if "Z" in self._columns else self._nuclear_charges()
        self._check_basis()

    def open_file(self) -> Any:
        """Open for reading."""
        return connect(self.path)

    def __len__(self) -> int:
        return len(self.ids)

    def name_of(self, index: int) -> str:
        """Return the id."""
        return str(self.ids[index])

    def molecule_of(self, index: int) -> str:
        """Number of the molecule in MOSES, where the file has it."""
        moses, _ = self._dataset_id(index)
        return super().molecule_of(index) if moses is None else f"moses-{moses}"

    def official_split(self, name: str) -> Mapping[str, NDArray[np.int64]]:
        """Return the one part that this file is, of split ``tiny``, ``small``, ….

        Raises
        ------
        DatasetError
            If there is no such split, or the file is no part of it by its name.
        """
        if name not in SIZES:
            return super().official_split(name)
        part = part_of(self.path.stem, name)
        if part is None:
            raise DatasetError(
                f"{self.path} is not a part of split {name!r}: the published files are "
                f"train_{SIZES[name]}.db, test_{SIZES[name]}_conformers.db, test_structures.db and "
                "test_scaffolds.db"
            )
        return {part: np.arange(len(self), dtype=np.int64)}

    def read(self, index: int) -> LabelledMolecule:
        """Read one row."""
        row = self._row(index, "E", "F", "H", "S")
        numbers, positions, basis = self._geometry(row)
        order = self._order.of(max(basis.degrees(numbers)), len(self), self._overlap)
        moses, conformer = self._dataset_id(index)
        details = {"moses_id": moses, "conformer_id": conformer}
        return LabelledMolecule(
            name=self.name_of(index),
            numbers=numbers,
            positions=positions,
            hamiltonian=to_pyscf(_matrix(row, "H", numbers, basis), numbers, basis, order),
            overlap=None if row["S"] is None
            else to_pyscf(_matrix(row, "S", numbers, basis), numbers, basis, order),
            energy=None if row["E"] is None else float(row["E"]) * HARTREE_IN_EV,
            forces=None if row["F"] is None
            else floats(row["F"], positions.shape, "F") * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM,
            details={k: v for k, v in details.items() if v is not None},
        )  # fmt: skip

    def _row(self, index: int, *names: str) -> dict[str, Any]:
        wanted = ["R", *(["Z"] if self._numbers is None else []), *names]
        query = f"SELECT {', '.join(wanted)} FROM data WHERE id = ?"
        return dict(zip(wanted, self.file.execute(query, (int(self.ids[index]),)).fetchone(), strict=True))

    def _geometry(self, row: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.float64], AOBasis]:
        numbers = self._numbers
        if numbers is None:
            if row["Z"] is None:
                raise DatasetError("Z is missing")
            numbers = integers(row["Z"], len(row["Z"]) // 4, "Z")
        positions = floats(row["R"], (len(numbers), 3), "R") * BOHR_IN_ANGSTROM
        return numbers, positions, shells(BASIS, numbers)

    def _overlap(self, index: int) -> OverlapSample:
        row = self._row(index, "S")
        numbers, positions, basis = self._geometry(row)
        return OverlapSample(numbers, positions, _matrix(row, "S", numbers, basis))

    def _dataset_id(self, index: int) -> tuple[int | None, int | None]:
        query = "SELECT MOSES_ID, CONFORMER_ID FROM dataset_ids WHERE id = ?"
        row = self.file.execute(query, (int(self.ids[index]),)).fetchone() if self._has_names else None
        moses, conformer = row or (None, None)
        return moses, conformer

    def _nuclear_charges(self) -> NDArray[np.int64]:
        if not columns(self.file, "nuclear_charges") >= {"N", "Z"}:
            raise DatasetError(f"{self.path} has neither a column Z nor a table nuclear_charges")
        row = self.file.execute("SELECT N, Z FROM nuclear_charges").fetchone()
        if row is None:
            raise DatasetError(f"{self.path}: table nuclear_charges is empty, so the elements are unknown")
        return integers(row[1], integer(row[0], "N"), f"{self.path}, table nuclear_charges: Z")

    def _check_basis(self) -> None:
        if not columns(self.file, "basisset") >= {"Z", "orbitals"}:
            return
        for z, orbitals in self.file.execute("SELECT Z, orbitals FROM basisset"):
            where = f"{self.path}, table basisset, element {z}"
            if orbitals is None or z < 1:  # the authors' own tables begin with an empty element
                continue
            degrees = tuple(integers(orbitals, len(orbitals) // 4, where))
            expected = shells(BASIS, np.array([z])).shells_of(z)
            if degrees != expected:
                raise DatasetError(f"{where}: shells {degrees} are not those of {BASIS}, {expected}")


def part_of(stem: str, split: str) -> str | None:
    """``train`` or ``test``, if a file of that name (without suffix) is a part of a split."""
    stem = stem.removeprefix("dataset_").removeprefix("nablaDFT_hamiltonian_").lower()
    size = SIZES[split]
    if stem in (f"train_{size}", f"train_{split}"):
        return "train"
    tests = {f"test_{size}_conformers", f"test_conformations_{split}", f"test_{size}_conformations"}
    return "test" if stem in tests | {"test_structures", "test_scaffolds"} else None


def _matrix(
    row: Mapping[str, Any], name: str, numbers: NDArray[np.int64], basis: AOBasis
) -> NDArray[np.float64]:
    size = basis.size(numbers)
    return floats(row[name], (size, size), f"{name} over {BASIS}")
