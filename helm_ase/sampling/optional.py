"""Import of the optional packages RDKit and tblite."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from helm_ase.errors import SettingError


def load(module: str) -> Any:
    """Import ``module`` of an optional package.

    Raises
    ------
    SettingError
        If the package is not installed.
    """
    require(module.partition(".")[0])
    return import_module(module)


def require(*packages: str) -> None:
    """Refuse to go on without ``packages``; nothing is imported.

    Raises
    ------
    SettingError
        If one of them is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise SettingError(
            f"sampling needs {' and '.join(missing)}, not installed here: pip install 'helm-ase[label]'"
        )
