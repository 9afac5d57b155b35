"""A file to which records are only ever appended, safe against being killed at any moment.

Each record is a frame: marker, key, length, checksum, payload.  A process that dies while writing leaves a
torn last frame, which readers ignore and the next writer cuts off.  The first frame says what the file is
about.
"""

import fcntl
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType

from helm_ase.errors import DatasetError

FRAME = struct.Struct("<4s32sQI")
MARKER = b"HELM"
TITLE_KEY = "title"


class RecordLog:
    """Records by key, in the order in which they were added.

    Parameters
    ----------
    path
        File.
    title
        What it is about; a file with another title is refused.
    writable
        Take the file's lock, create it if absent, cut off a torn end.  Otherwise the file must exist.
    durable
        Wait for the disk after each record, so that not even a power failure takes one back.

    Raises
    ------
    DatasetError
        If the file has another title, is no such file, or another process is writing to it.
    """

    def __init__(self, path: str | Path, title: bytes, writable: bool = False, durable: bool = True) -> None:
        self.path, self.title, self.writable, self.durable = Path(path), title, writable, durable
        self.index: dict[str, tuple[int, int]] = {}
        self._descriptor = -1

    def __enter__(self) -> "RecordLog":
        if self.writable:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT if self.writable else os.O_RDONLY
        self._descriptor = os.open(self.path, flags, 0o644)
        try:
            self._lock()
            self._scan()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give up its lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, key: str) -> bool:
        return key in self.index

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._descriptor).st_size

    def append(self, key: str, payload: bytes) -> None:
        """Add one record; the process may be killed as soon as this returns."""
        offset = os.lseek(self._descriptor, 0, os.SEEK_END)
        name = key.encode().ljust(32)
        frame = memoryview(
            FRAME.pack(MARKER, name, len(payload), zlib.crc32(payload, zlib.crc32(name))) + payload
        )
        while frame:
            frame = frame[os.write(self._descriptor, frame) :]
        if self.durable:
            os.fsync(self._descriptor)
        self.index[key] = offset, len(payload)

    def read(self, key: str) -> bytes:
        """Payload of a record.

        Raises
        ------
        KeyError
            If there is none.
        DatasetError
            If it is damaged.
        """
        payload = self._payload(*self.index[key])
        if payload is None:
            raise DatasetError(f"{self.path}: record {key} is damaged; delete the file to have it made again")
        return payload

    def clear(self) -> None:
        """Remove all records."""
        self.index.clear()
        os.ftruncate(self._descriptor, 0)
        self._write_title()

    def _lock(self) -> None:
        if not self.writable:
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(f"another process is writing to {self.path}") from error

    def _scan(self) -> None:
        """Find the records; only the last one can be torn, for each waits for the one before."""
        position, end = 0, self.size
        last = ""
        while position + FRAME.size <= end:
            marker, name, length, _ = FRAME.unpack(os.pread(self._descriptor, FRAME.size, position))
            if marker != MARKER or position + FRAME.size + length > end:
                break
            last = name.decode(errors="replace").rstrip()
            self.index[last] = position, length
            position += FRAME.size + length
        if last and self._payload(*self.index[last]) is None:
            position = self.index.pop(last)[0]
        self._check_title(end)
        if self.writable and 0 < position < end:
            os.ftruncate(self._descriptor, position)

    def _check_title(self, end: int) -> None:
        found = self.index.pop(TITLE_KEY, None)
        title = self._payload(*found) if found and found[0] == 0 else None
        if title == self.title:
            return
        if title is not None:
            raise DatasetError(
                f"{self.path} was begun as {title.decode(errors='replace')}, not as {self.title.decode()}: "
                "go on with the same settings, choose another file, or delete it"
            )
        if end > FRAME.size + len(self.title) or not self.writable:
            raise DatasetError(f"{self.path} is no log of this package; it is left as it is")
        os.ftruncate(self._descriptor, 0)  # killed while the title was being written, or a new file
        self._write_title()

    def _write_title(self) -> None:
        self.append(TITLE_KEY, self.title)
        del self.index[TITLE_KEY]

    def _payload(self, offset: int, length: int) -> bytes | None:
        frame = os.pread(self._descriptor, FRAME.size + length, offset)
        if len(frame) < FRAME.size + length:
            return None
        _, name, _, checksum = FRAME.unpack(frame[: FRAME.size])
        payload = frame[FRAME.size :]
        return payload if zlib.crc32(payload, zlib.crc32(name)) == checksum else None
