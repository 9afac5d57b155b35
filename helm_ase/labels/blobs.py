"""Decoding of ids, arrays and numbers in SQLite tables and LMDB files."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.system.plain_database import BoundedConnection, connect


def columns(connection: BoundedConnection, table: str) -> set[str]:
    """Names of the columns of a table; empty if there is no such table."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def row_ids(connection: BoundedConnection, table: str, path: Path) -> NDArray[np.int64]:
    """Ids of all rows of a table, ascending, (n,); ``path`` is for messages.

    Raises
    ------
    DatasetError
        If one is not a whole number, or stands twice.
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
    """Convert to int64; numbers with a fractional part are refused.

    Raises
    ------
    DatasetError
        If one is no whole number.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or not np.array_equal(array, np.trunc(array)):
        raise DatasetError(f"{name} holds {str(array)[:60]}; whole numbers are needed")
    return array.astype(np.int64)


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


__all__ = ["columns", "connect", "floats", "integer", "integers", "row_ids", "whole_numbers"]
