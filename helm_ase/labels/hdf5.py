"""Safe reading of HDF5 files from untrusted sources: no external links, no plugins, no implausible sizes.

An HDF5 file may name other files (external links, external storage, virtual data sets), plugins that are
loaded to unpack it, and arrays far larger than itself.  Every reader of the package opens files and looks up
what is in them through this module, which looks at links and layouts before any data is read.
"""

import mmap
import struct
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from helm_ase.errors import DatasetError

HEAP = b"GCOL\x01\0\0\0"
"""Signature and version of HDF5's collections of strings of variable length."""
FILTERS = {
    h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF,
}  # fmt: skip
"""Those that HDF5 and h5py bring along; others would be loaded from wherever the environment says."""
EXPANSION = 100
"""Largest ratio of numbers to the bytes that hold them; labels reach 3, text of one word a thousand."""
ALWAYS = 256 * 2**20
"""Bytes that may be asked for whatever holds them."""
KEY_BYTES = 12
"""Least bytes in which the fingerprint of a molecule is kept: 32 random hexadecimal digits take 16."""


def open_hdf5(path: str | Path) -> h5py.File:
    """Open a file for reading."""
    return h5py.File(path, "r")


def members(group: h5py.Group) -> list[str]:
    """Names of all that lies in a group itself, sorted.

    Raises
    ------
    DatasetError
        If one of them lies elsewhere: a soft or an external link.
    """
    names = sorted(group)
    for name in names:
        _check_link(group, name)
    return names


def item(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """What a path inside a file leads to, by hard links only, with its layout checked.

    Raises
    ------
    KeyError
        If there is nothing.
    DatasetError
        If the path leads over another kind of link, or the data are not in the file.
    """
    node: Any = group
    for part in name.strip("/").split("/"):
        if not isinstance(node, h5py.Group) or part in ("", ".") or part not in node:
            raise KeyError(f"there is no {name!r} in {group.name}")
        _check_link(node, part)
        node = node[part]
    if isinstance(node, h5py.Dataset):
        _check_layout(node)
    return cast(h5py.Group | h5py.Dataset, node)


def dataset(group: h5py.Group, name: str, units: Collection[str] = ()) -> h5py.Dataset:
    """A data set that lies in the file, with numbers in one of the units, where it states one.

    Raises
    ------
    KeyError
        If there is nothing of that name.
    DatasetError
        If it is no such data set, claims more than the file holds, or states another unit.
    """
    data = item(group, name)
    if not isinstance(data, h5py.Dataset):
        raise DatasetError(f"{name} is a group, not a data set")
    if data.dtype.kind not in "biufcS" or data.dtype.hasobject:
        raise DatasetError(f"{name} holds {data.dtype}, not numbers")
    check_size(data.size or 0, data)
    if units:
        check_unit(data, *units)
    return data


def check_unit(holder: h5py.HLObject, *units: str) -> None:
    """Refuse a unit other than those of the layout, where one is stated.

    Raises
    ------
    DatasetError
        Naming both.
    """
    allowed = {unit.lower() for unit in units}
    for key in ("unit", "units"):
        if key in holder.attrs and (stated := text_attribute(holder, key)).lower() not in allowed:
            raise DatasetError(f"{holder.name} is in {stated!r}; this layout has {' or '.join(units)}")


def check_size(count: int, data: h5py.Dataset) -> None:
    """Refuse to make ``count`` numbers of a data set that cannot hold them.

    Raises
    ------
    DatasetError
        If they would take more than what is stored could be packed from.
    """
    wanted, stored = count * data.dtype.itemsize, data.id.get_storage_size()
    if wanted > max(ALWAYS, EXPANSION * stored):
        raise DatasetError(
            f"{data.name} claims {wanted / 2**20:.0f} MiB where {stored} bytes are stored: refused"
        )


def text_attribute(holder: h5py.HLObject, name: str, default: str | None = None) -> str:
    """A text of fixed length, or one of varying length in a file whose heaps were checked.

    Raises
    ------
    KeyError
        If there is none, and no default.
    DatasetError
        If it is no text.
    """
    if name not in holder.attrs and default is not None:
        return default
    kind = holder.attrs.get_id(name).dtype
    if kind.kind == "O" and not _heaps_are_sound(holder.file):
        raise DatasetError(f"{holder.file.filename} is damaged: a string heap in it has no end")
    value = holder.attrs[name]
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise DatasetError(f"attribute {name} is {str(value)[:40]}, not a text")
    return str(value)


def number_attribute(holder: h5py.HLObject, name: str) -> float:
    """One number.

    Raises
    ------
    KeyError
        If there is none.
    DatasetError
        If it is something else.
    """
    kind = holder.attrs.get_id(name)
    if kind.dtype.kind not in "iufb" or prod(kind.shape or (1,)) != 1:
        raise DatasetError(f"attribute {name} is no number")
    return float(np.asarray(holder.attrs[name]).reshape(()))


def check_heaps(path: str | Path) -> None:
    """Refuse what HDF5 (up to 2.0) walks through forever: string heaps whose objects have no length.

    Raises
    ------
    DatasetError
        Naming the place.
    """
    if (place := _endless_heap(path)) is not None:
        raise DatasetError(f"{path} is damaged: empty object in the string heap at byte {place}")


def _heaps_are_sound(file: h5py.File) -> bool:
    return _endless_heap(file.filename) is None


def _endless_heap(path: str | Path) -> int | None:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin = data.find(HEAP)
        while begin >= 0:
            size = int.from_bytes(data[begin + 8 : begin + 16], "little")
            position, end = begin + 16, min(begin + size, len(data))
            while position + 16 <= end:
                index, length = struct.unpack_from("<H6xQ", data, position)
                step = length if index == 0 else 16 + -(-length // 8) * 8
                if step == 0:
                    return begin
                position += step
            begin = data.find(HEAP, begin + 1)
    return None


def _check_link(group: h5py.Group, name: str) -> None:
    kind = group.get(name, getlink=True)
    if not isinstance(kind, h5py.HardLink):
        raise DatasetError(
            f"{name!r} in {group.name} is a link to elsewhere, which is not followed: copy the data into the "
            "file (h5repack --merge, h5copy)"
        )


def _check_layout(data: h5py.Dataset) -> None:
    plan = data.id.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count() > 0:
        raise DatasetError(
            f"the data of {data.name} lie in another file, which is not opened: copy them into this one "
            "(h5repack)"
        )
    filters = {plan.get_filter(k)[0] for k in range(plan.get_nfilters())}
    if foreign := sorted(filters - FILTERS):
        raise DatasetError(
            f"{data.name} is packed with filter {foreign[0]}, a plugin, and none is loaded: "
            "repack it with gzip (h5repack -f GZIP=1)"
        )
