"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Place to write to, beside ``path``, which takes its name if nothing was raised and else vanishes."""
    place = Path(path)
    partial = place.with_name(
        f".{place.stem}.{os.getpid()}.partial{place.suffix}"
    )  # writers look at suffixes
    try:
        yield partial
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
