"""Keywords of the calculator: names, defaults and allowed values."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from helm_ase.errors import SettingError
from helm_ase.representation.charge_state import is_whole

DEFAULTS: dict[str, Any] = {
    "model": None,
    "device": None,
    "dtype": "float32",
    "charge": 0,
    "multiplicity": 1,
    "dispersion": None,
    "refine": 0,
    "recompute": None,
    "kpts": None,
    "smearing": None,
}
NOT_GIVEN: Any = type("NotGiven", (), {"__repr__": lambda _: "not given"})()
"""Value of a charge or multiplicity that is not given: the default is used, unless the atoms state one."""
DTYPES = ("float32", "float64")


def checked(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords with values that ASE can write to any file.

    Raises
    ------
    SettingError
        For an unknown keyword, naming the closest known one, or a value that is not allowed.
    """
    for key in keywords:
        if key not in DEFAULTS:
            close = difflib.get_close_matches(key, DEFAULTS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise SettingError(
                f"HELMCalculator has no keyword {key!r} (allowed: {', '.join(DEFAULTS)}){hint}"
            )
    values = dict(keywords)
    values |= {k: str(values[k]) for k in ("model", "device", "dispersion") if values.get(k) is not None}
    if "dtype" in values:
        values["dtype"] = str(values["dtype"]).removeprefix("torch.")
        if values["dtype"] not in DTYPES:
            raise SettingError(f"dtype {values['dtype']!r} is not one of {', '.join(DTYPES)}")
    if values.get("kpts") is not None:
        values["kpts"] = _plain_kpts(values["kpts"])
    if values.get("smearing") is not None:
        values["smearing"] = _plain_width(values["smearing"])
    if values.get("recompute") not in (None, True, False):
        raise SettingError(
            f"recompute is {values['recompute']!r}; allowed: None (where there are many atoms), True, False"
        )
    if values.get("recompute") is not None:
        values["recompute"] = bool(values["recompute"])
    for key in {"charge", "multiplicity"} & set(values):
        if not is_whole(values[key]):
            raise SettingError(f"{key} must be an integer, not {values[key]!r}")
        values[key] = int(values[key])
    if "refine" in values:
        if not is_whole(values["refine"]) or values["refine"] < 0:
            raise SettingError(
                f"refine is {values['refine']!r}; it is a number of SCF steps: 0 (none), 1, 2, …"
            )
        values["refine"] = int(values["refine"])
    return values


def _plain_kpts(kpts: Any) -> Any:
    """Convert to a list of three numbers or a dictionary; the mesh itself checks the values."""
    try:
        if isinstance(kpts, Mapping):
            allowed: dict[str, Callable[[Any], Any]] = {"size": _whole, "density": float, "gamma": bool}
            return {str(k): allowed[str(k)](v) for k, v in kpts.items()}
        return _whole(kpts)
    except (KeyError, TypeError, ValueError):
        pass
    raise SettingError(
        f"kpts is {kpts!r}; allowed are three whole numbers, {{'size': …}} or {{'density': …}} with 'gamma'; "
        f"a path goes to band_structure(path)"
    )


def _whole(numbers: Any) -> list[int]:
    """Three whole numbers; raises ValueError."""
    values = [int(n) for n in numbers]
    if len(values) != 3 or any(n != m for n, m in zip(values, numbers, strict=True)):
        raise ValueError
    return values


def _plain_width(smearing: Any) -> float:
    try:
        width = float(smearing)
    except (TypeError, ValueError):
        width = -1.0
    if not 0 <= width < 10:
        raise SettingError(f"smearing is {smearing!r}; it must be the width kT in eV, 0 or more")
    return width


class ModelKeywords(NamedTuple):
    """Keywords of the calculator whose change makes it load the model again."""

    model: str | None
    device: str | None
    dtype: str
    dispersion: str | None


def model_keywords(parameters: Mapping[str, Any]) -> ModelKeywords:
    """Select, from all keywords, those that decide which model is loaded, where, and with what added."""
    dtype = str(parameters.get("dtype", "float32"))
    return ModelKeywords(
        parameters.get("model"), parameters.get("device"), dtype, parameters.get("dispersion")
    )
