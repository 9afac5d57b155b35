"""Device and floating-point precision of a network."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from helm_ase.errors import SettingError
from helm_ase.nn.model import HELM
from helm_ase.system.torch_state import own_torch_state

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
"""Names of the precisions in which a network can compute."""


def move(model: HELM, device: str | None = None, dtype: str = "float32") -> None:
    """Move a network to a device, and change its precision.

    Parameters
    ----------
    model
        Changed in place.
    device
        ``cpu``, ``cuda``, …; None: a GPU if there is one.
    dtype
        A name in :data:`PRECISIONS`.

    Raises
    ------
    SettingError
        If there is no such device or precision, or the device has not that precision.
    """
    precision = _precision(dtype)
    with _refusals(device):
        model.cast(precision).to(_place(device))


def placed(model: HELM, device: str | None = None, dtype: str = "float32") -> HELM:
    """Network on a device and in a precision: the given one if it already is, otherwise a copy; see
    :func:`move`.

    Parameters
    ----------
    model
        On the CPU; never changed.
    device, dtype
        As for :func:`move`.

    Raises
    ------
    SettingError
        As :func:`move`.
    """
    precision = _precision(dtype)
    with _refusals(device):
        if _place(device).type == "cpu" and model.dtype == precision:
            return model
    with own_torch_state(), torch.inference_mode(False):  # inference tensors could not give forces later
        there = copy.deepcopy(model)
        move(there, device, dtype)
    return there


def _precision(dtype: str) -> torch.dtype:
    if dtype not in PRECISIONS:
        raise SettingError(f"dtype {dtype!r} is not one of {', '.join(PRECISIONS)}")
    return PRECISIONS[dtype]


def _place(device: str | None) -> torch.device:
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


@contextmanager
def _refusals(device: str | None) -> Iterator[None]:
    """Context that turns errors of torch about a device into :class:`SettingError`."""
    try:
        yield
    except (RuntimeError, AssertionError, TypeError) as error:  # TypeError: MPS has no float64
        lines = str(error).splitlines() or [type(error).__name__]
        raise SettingError(f"device {device!r} cannot be used: {lines[0]}; cpu always can") from error
