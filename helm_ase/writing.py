"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Place to write to, beside ``path``, which takes its name if nothing was raised and else vanishes."""
    place = Path(path)
    name = f".{place.stem}.{os.getpid()}.partial{place.suffix}"  # writers look at suffixes
    partial = place.with_name(name)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name with nothing behind it
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
