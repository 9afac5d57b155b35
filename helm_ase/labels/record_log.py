"""Append-only file of records, which stays readable if the process is killed at any moment.

Each record is a frame: marker, key, length, checksum of the payload, checksum of all that; the payload.  A
process that dies while writing leaves a torn last frame, which readers ignore and the next writer cuts off.
The first frame says what the file is about.
"""

import fcntl
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType

from helm_ase.errors import DatasetError

HEAD = struct.Struct("<4s32sQI")
FRAME = struct.Struct("<4s32sQII")
MARKER = b"HELM"
TITLE_KEY = "title"


class BusyError(DatasetError):
    """Another process is writing to the file."""


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
        self.damaged = 0
        """Places in the file that hold no readable record."""
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
        head = HEAD.pack(MARKER, key.encode().ljust(32), len(payload), zlib.crc32(payload))
        frame = memoryview(head + struct.pack("<I", zlib.crc32(head)) + payload)
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
        except BlockingIOError as error:
            raise BusyError(f"another process is writing to {self.path}") from error
        except OSError as error:
            raise DatasetError(
                f"{self.path} cannot be locked ({error}): write to a file system that has locks"
            ) from error

    def _scan(self) -> None:
        """Find the records.

        Only the last one can be torn, for each waits for the one before: a bad frame with good ones behind it
        is damage, and is passed over.
        """
        position, end = 0, self.size
        last = ""
        while position + FRAME.size <= end:
            head = parse_head(os.pread(self._descriptor, FRAME.size, position))
            if head is None or position + FRAME.size + head[1] > end:
                following = self._next_frame(position + 1, end)
                if following is None:
                    break
                self.damaged += 1
                position = following
                continue
            last = head[0]
            self.index[last] = position, head[1]
            position += FRAME.size + head[1]
        if last and self._payload(*self.index[last]) is None:
            position = self.index.pop(last)[0]
        if self._begins_with_title(end) and self.writable and position < end:
            os.ftruncate(self._descriptor, position)

    def _next_frame(self, position: int, end: int) -> int | None:
        """Begin of the next whole record behind a damaged place."""
        rest = os.pread(self._descriptor, end - position, position)
        place = rest.find(MARKER)
        while 0 <= place <= len(rest) - FRAME.size:
            head = parse_head(rest[place : place + FRAME.size])
            if head is not None and place + FRAME.size + head[1] <= len(rest):
                return position + place
            place = rest.find(MARKER, place + 1)
        return None

    def verify(self) -> list[str]:
        """Drop the records whose content is damaged, and name them."""
        bad = [key for key, place in self.index.items() if self._payload(*place) is None]
        for key in bad:
            del self.index[key]
        return bad

    def _begins_with_title(self, end: int) -> bool:
        """Whether the file is a valid log; a new file, or one without records, is initialised."""
        head = self.index.pop(TITLE_KEY, None)
        title = self._payload(*head) if head and head[0] == 0 else None
        if title == self.title:
            return True
        if title is None and (end > FRAME.size + len(self.title) or not self.writable):
            raise DatasetError(f"{self.path} is not a log of this package; it is left as it is")
        if title is not None and (self.index or self.damaged or not self.writable):
            theirs, ours = title.decode(errors="replace"), self.title.decode()
            raise DatasetError(
                f"{self.path} was begun as {theirs}, not as {ours}, and holds {len(self.index)} records: "
                "finish it with the same settings first, or choose another file"
            )
        self.clear()
        return False

    def _write_title(self) -> None:
        self.append(TITLE_KEY, self.title)
        del self.index[TITLE_KEY]

    def _payload(self, offset: int, length: int) -> bytes | None:
        frame = os.pread(self._descriptor, FRAME.size + length, offset)
        if len(frame) < FRAME.size + length:
            return None
        payload = frame[FRAME.size :]
        whole = parse_head(frame[: FRAME.size]) is not None
        return payload if whole and zlib.crc32(payload) == FRAME.unpack_from(frame)[3] else None


def parse_head(frame: bytes) -> tuple[str, int] | None:
    """Key and length of the payload, or None if this is not a head of a frame."""
    marker, key, length, _, checksum = FRAME.unpack(frame)
    if marker != MARKER or zlib.crc32(frame[: HEAD.size]) != checksum:
        return None
    return key.decode(errors="replace").rstrip(), length
