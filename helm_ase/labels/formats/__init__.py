"""Readers of label files: one module for each format, chosen by file name and content.

A reader module offers

- ``DESCRIPTION``: one line for ``helm-ase data info --formats``;
- ``PATTERNS``: names of files it may read, as in a shell (a folder's name ends in ``/``);
- ``recognises(path)``: whether this file is one, by a cheap look inside; it may raise;
- ``open_source(path, **options)``: a :class:`~helm_ase.labels.source.LabelSource`.
"""

import inspect
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.source import LabelSource


@cache
def readers() -> dict[str, ModuleType]:
    """Name of every format → its reader module."""
    modules = {m.name: import_module(f"{__name__}.{m.name}") for m in iter_modules(__path__)}
    return {name: module for name, module in modules.items() if hasattr(module, "PATTERNS")}


def open_labels(path: str | Path, format: str | None = None, **options: Any) -> LabelSource:
    """Open a file or folder of labelled molecules in any known format.

    Parameters
    ----------
    path
        File or folder.
    format
        Name of the format; found by name and content if absent.
    options
        Passed on to the reader; which ones there are depends on the format.

    Raises
    ------
    DatasetError
        If the file does not exist, is of no known format, or is damaged.
    SettingError
        If the format or an option is unknown.

    Examples
    --------
    >>> with open_labels("labels.h5") as labels:  # doctest: +SKIP
    ...     print(len(labels), labels[0].energy)
    """
    path = Path(path)
    if not path.exists():
        journal = path.with_name(path.name + ".journal")
        hint = (
            f": its labels are in {journal.name} until 'helm-ase label' has finished"
            if journal.exists()
            else ""
        )
        raise DatasetError(f"{path} does not exist{hint}")
    name = format or _recognise(path)
    if name not in readers():
        raise SettingError(f"unknown format {name!r}; known formats: {', '.join(readers())}")
    allowed = options_of(path, name)
    if unknown := set(options) - set(allowed):
        raise SettingError(
            f"format {name!r} has no option {sorted(unknown)}; allowed: {', '.join(allowed) or 'none'}"
        )
    try:
        source: LabelSource = readers()[name].open_source(path, **options)
        len(source)
    except SettingError:
        raise
    except DatasetError as error:
        if str(path) in str(error):
            raise
        raise DatasetError(f"{path}: {error}") from error  # from within the file
    except Exception as error:
        raise DatasetError(f"{path} is no readable {name} data: {type(error).__name__}: {error}") from error
    return source


def options_of(path: str | Path, format: str | None = None) -> tuple[str, ...]:
    """Options that the reader of a file takes.

    Raises
    ------
    DatasetError, SettingError
        As :func:`open_labels`.
    """
    name = format or _recognise(Path(path))
    if name not in readers():
        raise SettingError(f"unknown format {name!r}; known formats: {', '.join(readers())}")
    return tuple(inspect.signature(readers()[name].open_source).parameters)[1:]


def _recognise(path: Path) -> str:
    name = path.name + ("/" if path.is_dir() else "")
    candidates = {
        k: m for k, m in readers().items() if any(fnmatch(name.lower(), p.lower()) for p in m.PATTERNS)
    }
    reasons = []
    for key, module in candidates.items():
        try:
            if module.recognises(path):
                return key
        except Exception as error:
            reasons.append(f"{key}: {type(error).__name__}: {error}")
    tried = "; ".join(reasons) or f"tried {', '.join(candidates) or 'none, for the name fits no format'}"
    raise DatasetError(
        f"{path} is in no known format ({tried}); if you know it, pass format=: {', '.join(readers())}"
    )
