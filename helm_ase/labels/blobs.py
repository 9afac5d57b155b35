"""SQLite files that nobody vouches for; arrays and numbers in blobs and in the values of LMDB files."""

import sqlite3
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError

LOOK_EVERY = 100_000
"""Instructions of SQLite between two looks at how many there were."""
FREE = 10_000_000
"""Instructions that every query may take, a second of work."""
EACH_BYTE = 2
"""Further ones for every byte of the file; a row of ten bytes takes ten to twenty."""


class BoundedConnection(sqlite3.Connection):
    """A connection whose queries end, whatever the file makes of them.

    A damaged or invented file can lead in circles.
    """

    bound = FREE
    _left = 0

    def execute(self, *terms: Any) -> sqlite3.Cursor:
        """As in sqlite3; the query is interrupted when it has taken more than ``bound`` instructions."""
        self._left = self.bound // LOOK_EVERY
        self.set_progress_handler(self._look, LOOK_EVERY)
        return super().execute(*terms)

    def _look(self) -> int:
        self._left -= 1
        return int(self._left < 0)


def connect(path: Path) -> sqlite3.Connection:
    """Open an SQLite file that must exist, without the right to change it.

    Raises
    ------
    DatasetError
        If it holds anything but tables and their indices: views and triggers are programs.
    """
    # Threads may share it: sqlite3 serialises them, and this package only reads.
    address = f"{path.resolve().as_uri()}?mode=ro"
    found = sqlite3.connect(address, uri=True, check_same_thread=False, factory=BoundedConnection)
    size = path.stat().st_size
    found.bound = FREE + EACH_BYTE * size
    found.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size, 2**20))  # no value is longer than its file
    found.execute("PRAGMA trusted_schema = OFF")
    found.execute("PRAGMA cell_size_check = ON")
    try:
        odd = found.execute(
            "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') "
            "OR sql LIKE 'CREATE VIRTUAL%' LIMIT 1"
        ).fetchone()
    except sqlite3.DatabaseError:
        found.close()
        raise
    if odd is not None:
        found.close()
        raise DatasetError(f"{path} holds {odd[0]} {str(odd[1])[:40]!r}; only plain tables are read")
    return found


def columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Names of the columns of a table; empty if there is no such table."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def row_ids(connection: sqlite3.Connection, table: str, path: Path) -> NDArray[np.int64]:
    """Ids of all rows of a table, ascending, (n,); ``path`` is for messages.

    Raises
    ------
    DatasetError
        If one is no whole number, or stands twice.
    """
    query = f"SELECT id FROM {table} ORDER BY id"
    ids = np.array([integer(row[0], "id") for row in connection.execute(query)], dtype=np.int64)
    again = ids[1:][np.diff(ids) == 0]
    if len(again):
        raise DatasetError(f"{path}: there are several entries with id {again[0]}")
    return ids


def floats(
    value: Any, shape: Sequence[int], name: str, widths: Sequence[int] = (4, 8)
) -> NDArray[np.float64]:
    """Array of the shape that it must have, from little-endian bytes or from an array.

    Parameters
    ----------
    value
        Bytes of float32 or float64 (their number tells which), or an array.
    shape
        Shape that the other contents of the entry imply.
    name
        What it is, for messages.
    widths
        Bytes for each number that the layout allows.

    Raises
    ------
    DatasetError
        If it is missing, or does not have as many numbers as the shape.
    """
    numbers = _numbers(value, shape, name, "f", widths)
    return np.array(numbers, dtype=np.float64)


def integers(value: Any, count: int, name: str) -> NDArray[np.int64]:
    """Vector of whole numbers, from little-endian int32 or int64 bytes or from an array; (count,).

    Raises
    ------
    DatasetError
        If it is missing, of another length, or not of whole numbers.
    """
    numbers = _numbers(value, (count,), name, "i", (4, 8))
    if numbers.dtype.kind not in "iu":
        raise DatasetError(f"{name} is of type {numbers.dtype}, not whole numbers")
    return numbers.astype(np.int64)


def whole_numbers(values: Any, name: str) -> NDArray[np.int64]:
    """Whole numbers as they are; others are refused, not cut.

    Raises
    ------
    DatasetError
        If one is no whole number.
    """
    found = np.asarray(values)
    if found.dtype.kind not in "iuf" or not np.array_equal(found, np.trunc(found)):
        raise DatasetError(f"{name} holds {str(found)[:60]}; whole numbers are needed")
    return found.astype(np.int64)


def integer(value: Any, name: str) -> int:
    """Return a whole number, which some programs write as the bytes of an int64.

    Raises
    ------
    DatasetError
        If it is neither.
    """
    if isinstance(value, bytes) and len(value) in (4, 8):
        return int.from_bytes(value, "little", signed=True)
    if isinstance(value, int | np.integer):
        return int(value)
    raise DatasetError(f"{name} is {value!r:.40}, not a whole number")


def _numbers(value: Any, shape: Sequence[int], name: str, kind: str, widths: Sequence[int]) -> NDArray[Any]:
    if value is None:
        raise DatasetError(f"{name} is missing")
    count = prod(shape)
    if isinstance(value, np.ndarray):
        if value.size != count or value.dtype.kind not in "fiu":
            raise DatasetError(
                f"{name} has shape {value.shape} and type {value.dtype}; {tuple(shape)} is needed"
            )
        return value.reshape(tuple(shape))
    if not isinstance(value, bytes | bytearray | memoryview):
        raise DatasetError(f"{name} is {value!r:.40}, not the bytes of an array")
    length = len(value)
    for width in widths:
        if count > 0 and length == width * count:
            return np.frombuffer(value, dtype=f"<{kind}{width}").reshape(tuple(shape))
    allowed = " or ".join(str(width * count) for width in widths)
    raise DatasetError(f"{name} has {length} bytes; shape {tuple(shape)} needs {allowed}")
