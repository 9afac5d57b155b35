"""Files that are written completely or not at all."""

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from helm_ase.errors import SettingError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Context that gives a temporary path beside ``path``: renamed to it on success, removed after an error.

    Symbolic links are followed.  The file has the permissions of the one it replaces, or those of a new file
    (umask).

    Raises
    ------
    SettingError
        If ``path`` exists and is not a file.
    """
    place = Path(path).resolve() if Path(path).is_symlink() else Path(path)
    if place.exists() and not place.is_file():
        raise SettingError(f"{path} is not a file: name one to write to")
    own = f"{os.getpid()}-{secrets.token_hex(4)}"
    name = f".{place.stem}.{own}.partial{place.suffix}"  # writers look at suffixes
    partial = place.with_name(name)
    mode = _mode(place, partial)
    try:
        yield partial
        partial.chmod(mode)  # some writers make files that only their owner may read
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name with nothing behind it
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def check_apart(outputs: Iterable[str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Refuse an output file that is the same file as an input or another output, links resolved.

    Raises
    ------
    SettingError
        Naming it.
    """
    taken = {_identity(path): "read" for path in inputs if path}
    for path in outputs:
        if not path:
            continue
        use = taken.setdefault(_identity(path), "")
        if use:
            raise SettingError(f"{path} is also {use}: give the output a name of its own")
        taken[_identity(path)] = "another output"


def _identity(path: str | Path) -> tuple[int, int] | str:
    try:
        status = os.stat(path)
        return status.st_dev, status.st_ino
    except (OSError, ValueError):
        return str(Path(path).resolve())


def _mode(place: Path, probe: Path) -> int:
    """Permissions of a new file; determined without changing the umask, which threads share."""
    if place.exists():
        return stat.S_IMODE(place.stat().st_mode)
    probe.touch()
    try:
        return stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink()
