"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helm_ase.errors import SettingError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Place to write to, beside ``path``, which takes its name if nothing was raised and else vanishes.

    A link is followed.

    Raises
    ------
    SettingError
        If ``path`` is there and no file: a folder, a device.
    """
    place = Path(path).resolve() if Path(path).is_symlink() else Path(path)
    if place.exists() and not place.is_file():
        raise SettingError(f"{path} is no file: name one to write to")
    own = f"{os.getpid()}-{secrets.token_hex(4)}"
    name = f".{place.stem}.{own}.partial{place.suffix}"  # writers look at suffixes
    partial = place.with_name(name)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name with nothing behind it
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
