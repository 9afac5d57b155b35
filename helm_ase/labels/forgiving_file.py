"""File object for HDF5 that records write errors instead of raising them, as HDF5 would crash.

HDF5 (up to 2.0) crashes when a write fails while it closes a data set, as on a full disk.  Here writes never
fail for HDF5: what the disk does not take is kept in memory, and whoever writes asks afterwards.
"""

import io
from pathlib import Path
from typing import Any


class ForgivingFile(io.RawIOBase):
    """A file for ``h5py.File``; see :meth:`check`.

    Parameters
    ----------
    path
        File.
    mode
        ``w+b`` for a new one, ``r+b`` for one that exists.
    """

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__()
        self._file = io.FileIO(path, mode.replace("b", ""))
        self._failure: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []
        self._place = 0

    def check(self) -> None:
        """Raise what the disk said, if it refused anything.

        Raises
        ------
        OSError
            Of the first write that failed.
        """
        if self._failure is not None:
            raise self._failure

    def readable(self) -> bool:
        """As in io."""
        return True

    def writable(self) -> bool:
        """As in io."""
        return True

    def seekable(self) -> bool:
        """As in io."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As in io."""
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence == io.SEEK_END:
            ends = [start + len(data) for start, data in self._kept]
            offset += max(self._file.seek(0, io.SEEK_END), *ends, 0)
        self._place = offset
        return offset

    def tell(self) -> int:
        """As in io."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """As in io: what is on the disk, and over it what is not."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._place)
        count = self._file.readinto(view) or 0
        for start, data in self._kept:
            begin, end = max(start, self._place), min(start + len(data), self._place + len(view))
            if begin < end:
                view[begin - self._place : end - self._place] = data[begin - start : end - start]
                count = max(count, end - self._place)
        self._place += count
        return count

    def write(self, data: Any) -> int:
        """As in io; always as if all were written."""
        rest = memoryview(data).cast("B")
        total = len(rest)
        if self._failure is None:
            try:
                self._file.seek(self._place)
                while rest:
                    taken = self._file.write(rest) or 0
                    rest, self._place = rest[taken:], self._place + taken
            except OSError as error:
                self._failure = error
        if rest:
            self._kept.append((self._place, bytes(rest)))
            self._place += len(rest)
        return total

    def truncate(self, size: int | None = None) -> int:
        """As in io."""
        size = self._place if size is None else size
        if self._failure is None:
            try:
                self._file.truncate(size)
            except OSError as error:
                self._failure = error
        return size

    def flush(self) -> None:
        """As in io: nothing is held back."""

    def close(self) -> None:
        """Close the file on the disk."""
        if not self.closed:
            self._file.close()
            super().close()
