"""Downloads that appear complete or not at all, are bounded in size, and leave no partial files behind."""

import hashlib
import sys
import time
from pathlib import Path
from typing import IO, Any

import pooch

from helm_ase.errors import CheckpointError
from helm_ase.system.atomic_write import whole_file

LARGEST = 8 * 2**30
"""Largest download in bytes where the size is not known beforehand."""
STALE = 3600.0
"""Seconds without a new byte after which a partial file counts as abandoned."""
SLOWEST, PATIENCE = 1000.0, 120.0
"""Lowest rate of a download in bytes per second, and seconds after which it is required."""


class _Capped:
    """File object that refuses more bytes than expected and computes their checksum as they are written."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self.file, self.limit, self.taken = file, limit, 0
        self.digest, self.begin = hashlib.sha256(), time.monotonic()

    def write(self, data: bytes) -> int:
        self.taken += len(data)
        if self.taken > self.limit:
            raise ValueError(f"the server sends more than the {self.limit} bytes that the file has")
        seconds = time.monotonic() - self.begin
        if seconds > PATIENCE and self.taken < SLOWEST * seconds:
            raise ValueError(f"the server sent {self.taken} bytes in {seconds:.0f} s")
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def download(url: str, target: Path, sha256: str, size: int | None = None) -> None:
    """Download a file; it appears under its name only when it is complete and its checksum is right.

    Parameters
    ----------
    url
        URL, http or https.
    target
        Path to write to; its folder is created if needed.
    sha256
        Expected checksum.
    size
        Expected size in bytes, if known; no more are downloaded.

    Raises
    ------
    CheckpointError
        If it cannot be had, or is something else; nothing is kept.
    """
    fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=60)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        with whole_file(target) as partial, partial.open("wb") as file:
            taken: Any = _Capped(file, size or LARGEST)
            fetch(url, taken, None)
            if taken.digest.hexdigest() != sha256:
                raise ValueError(f"its checksum is {taken.digest.hexdigest()}, not {sha256}")
    except Exception as error:  # errors of requests, the disk, or this module
        raise CheckpointError(f"cannot fetch {url} (nothing was kept): {error}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove partial files of interrupted downloads; those that are still growing are kept."""
    for pattern in (".*.partial*", "tmp*"):  # names used here and by pooch
        for path in folder.glob(pattern):
            try:
                if path.is_file() and time.time() - path.stat().st_mtime > STALE:
                    path.unlink(missing_ok=True)
            except OSError:  # of another user: can be ignored
                continue
