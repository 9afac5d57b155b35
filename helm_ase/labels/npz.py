"""Safe reading of npz archives from untrusted sources: no pickles, no implausible sizes."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from helm_ase.errors import DatasetError

EXPANSION = 100
"""Largest ratio of unpacked to packed bytes; numbers reach 10."""
ALWAYS = 64 * 2**20
"""Unpacked size in bytes that is always allowed, whatever the size of the file."""


def load_npz(path: str | Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive by name.

    Parameters
    ----------
    path
        File that ``numpy.savez`` or ``numpy.savez_compressed`` wrote.

    Raises
    ------
    DatasetError
        If it is no such archive, unpacks to far more than it is, or an array claims more than its member.
    ValueError
        If an array is a pickle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = sum(entry.file_size for entry in archive.infolist())
            if wanted > max(ALWAYS, EXPANSION * Path(path).stat().st_size):
                raise DatasetError(
                    f"{path} unpacks to {wanted / 2**20:.0f} MiB, far more than it is: refused"
                )
            for entry in archive.infolist():
                with archive.open(entry) as member:
                    _check_claim(member, entry, path)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DatasetError(f"{path} is damaged or no archive: {error}") from error
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def _check_claim(member: Any, entry: zipfile.ZipInfo, path: str | Path) -> None:
    """Compare the shape that the header of a member states with the bytes behind it."""
    version = npy.read_magic(member)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise DatasetError(f"{path}: {entry.filename} has npy version {version}, which is not read")
    try:
        shape, _, kind = read(member)
    except Exception as error:  # numpy hands the header to Python's parser, which raises what it likes
        raise DatasetError(f"{path}: the header of {entry.filename} is damaged: {error!s:.100}") from error
    count = 1
    for n in shape:
        count *= int(n)
    if not kind.hasobject and count * kind.itemsize > entry.file_size:
        raise DatasetError(f"{path}: {entry.filename} claims shape {shape} in {entry.file_size} bytes")
