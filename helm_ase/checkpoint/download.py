"""Downloads: no more than was announced, whole or not at all, and nothing left of those that were killed."""

import hashlib
import sys
import time
from pathlib import Path
from typing import IO, Any

import pooch

from helm_ase.errors import CheckpointError
from helm_ase.system.atomic_write import whole_file

LARGEST = 8 * 2**30
"""Bytes of a file whose size is not announced."""
STALE = 3600.0
"""Seconds without a byte after which a part of a file belongs to nobody."""
SLOWEST, PATIENCE = 1000.0, 120.0
"""Bytes a second, and seconds before that is asked for: less would never end."""


class _Capped:
    """A file that takes no more bytes than it should, and sums them up on the way."""

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
    """Fetch a file; it appears under its name only when it is what it should be.

    Parameters
    ----------
    url
        Address, http or https.
    target
        Where it is to lie; the folder is made.
    sha256
        Checksum that it must have.
    size
        Bytes that it has, if that is known: no more are taken.

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
    except Exception as error:  # requests' errors, the disk's, ours
        raise CheckpointError(f"cannot fetch {url} (nothing was kept): {error}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove parts of files that killed downloads left behind; those still growing stay."""
    for pattern in (".*.partial*", "tmp*"):  # ours, and those of pooch
        for path in folder.glob(pattern):
            try:
                if path.is_file() and time.time() - path.stat().st_mtime > STALE:
                    path.unlink(missing_ok=True)
            except OSError:  # somebody else's: it does not matter
                continue
