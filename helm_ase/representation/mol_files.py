"""Mol and sdf files: all records, with charges and radicals; two-dimensional drawings are refused."""

import io
import re
from pathlib import Path

import ase.io
from ase import Atoms

from helm_ase.errors import StructureError
from helm_ase.representation.stated_state import Stated

ATOM_CODES = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}
"""Charge codes in the atom lines of mol files."""
UNPAIRED = {1: 0, 2: 1, 3: 2}
"""Radical codes of mol files."""
ORDERS = {1: 1.0, 2: 2.0, 3: 3.0, 4: 1.5}
"""Codes of bonds; 4 is aromatic."""
BONDS_OF_CARBON = 4.0


def read_records(path: str) -> list[tuple[Atoms, Stated]]:
    """All records of a file; ASE reads the first only.

    Raises
    ------
    StructureError
        If a record is a drawing, lacks its hydrogen atoms, or is of another version of the format.
    """
    text = Path(path).read_text(encoding="utf8", errors="replace")
    records = re.split(r"^\$\$\$\$[^\n]*\n?", text, flags=re.MULTILINE)
    molecules = []
    for number, record in enumerate(filter(str.strip, records)):
        if "V3000" in record[:400]:
            raise StructureError(f"{path}, record {number} is a V3000 mol file; write it as V2000 or xyz")
        atoms = ase.io.read(io.StringIO(record), format="sdf")
        _check_geometry(record.splitlines(), atoms, f"{path}, record {number}")
        molecules.append((atoms, stated_by_mol(record, len(atoms))))
    return molecules


def _check_geometry(lines: list[str], atoms: Atoms, where: str) -> None:
    way_out = "make a geometry first, as with 'helm-ase sample --smiles'"
    if len(atoms) > 1 and lines[1][20:22] == "2D":
        raise StructureError(f"{where} is a drawing in two dimensions and no geometry: {way_out}")
    if 1 in atoms.numbers or not (orders := _bond_orders(lines, len(atoms))):
        return
    exempt = _properties(lines, "CHG").keys() | _properties(lines, "RAD").keys()
    lacking = [
        k for k in range(1, len(atoms) + 1)
        if atoms.numbers[k - 1] == 6 and orders.get(k, 0.0) < BONDS_OF_CARBON and k not in exempt
    ]  # fmt: skip
    if lacking:
        raise StructureError(
            f"{where} lacks its hydrogen atoms, as those of atom {lacking[0]}, a carbon: {way_out}"
        )


def _bond_orders(lines: list[str], count: int) -> dict[int, float]:
    """Atom → sum of the orders of its bonds; empty where the file lists none."""
    bonds = lines[3][3:6].strip()
    orders: dict[int, float] = {}
    for line in lines[4 + count : 4 + count + (int(bonds) if bonds.isdecimal() else 0)]:
        first, second, order = (int(line[k : k + 3]) for k in (0, 3, 6))
        for atom in (first, second):
            orders[atom] = orders.get(atom, 0.0) + ORDERS.get(order, BONDS_OF_CARBON)
    return orders


def stated_by_mol(record: str, count: int) -> Stated:
    """Charge and unpaired electrons of a mol record (V2000)."""
    lines = record.splitlines()
    codes = [line[36:39].strip() for line in lines[4 : 4 + count]]
    charges = {k: ATOM_CODES.get(int(code), 0) for k, code in enumerate(codes) if code.isdigit()}
    radicals = {k: 2 for k, code in enumerate(codes) if code == "4"}
    listed = {kind: _properties(lines, kind) for kind in ("CHG", "RAD")}
    if listed["CHG"] or listed["RAD"]:  # either replaces all codes
        charges, radicals = listed["CHG"], listed["RAD"]
    unpaired = sum(UNPAIRED.get(code, 0) for code in radicals.values())
    charge = sum(charges.values())
    return Stated(charge if charges else None, 1 + unpaired if radicals else None)


def _properties(lines: list[str], kind: str) -> dict[int, int]:
    """Atom → value of lines such as ``M  CHG  2   1  -1   6  -1``."""
    values: dict[int, int] = {}
    for line in lines:
        if line.startswith("M  END"):
            break
        if line.startswith(f"M  {kind}"):
            numbers = list(map(int, line[6:].split()))
            if len(numbers) != 1 + 2 * numbers[0]:
                raise StructureError(f"{line!r} does not hold as many pairs as it says: mend the file")
            values |= dict(zip(numbers[1::2], numbers[2::2], strict=True))
    return values
