"""Safe reading of numbers and arrays from pickles of untrusted sources.

A pickle is a program.  Here its instructions are read first: only those that numbers, strings, bytes, one
dictionary and numpy's own arrays need are let through, so that nothing can be called, nothing grows beyond
the pickle itself, and nothing is nested.  Then it runs with numpy's constructors replaced by ones that check.
"""

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError

MAX_BYTES = 256 * 2**20
"""Longest pickle; 2000 AOs in float64 take an eighth of it."""
MAX_INSTRUCTIONS = 2000
"""A record of ten arrays takes 300."""
ATOMIC = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "NONE", "NEWTRUE", "NEWFALSE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
"""Instructions that put one value on the stack."""
SHAREABLE = ATOMIC | {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}
"""What may be stored for a second use.  Tuples and dictionaries may not: their nesting would be a bomb."""
STORE, FETCH = {"MEMOIZE", "BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}
STRUCTURE = {
    "PROTO", "FRAME", "STOP", "MARK", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1",
    "TUPLE2", "TUPLE3",
}  # fmt: skip
ALLOWED = ATOMIC | SHAREABLE | STORE | FETCH | STRUCTURE
DTYPE = re.compile(r"[<>=|]?(f[248]|[iu][1248]|b1)")
PLAIN = (bool, int, float, str, bytes, bytearray, np.ndarray, np.generic, type(None))


def load_record(data: bytes) -> dict[str, Any]:
    """Dictionary of names with numbers, strings, bytes and numpy arrays, from a pickle of protocol 3 to 5.

    Parameters
    ----------
    data
        The pickle.

    Raises
    ------
    DatasetError
        If the pickle is damaged, or wants anything else.
    """
    if len(data) > MAX_BYTES:
        raise DatasetError(f"pickle of {len(data)} bytes refused; the limit is {MAX_BYTES}")
    _scan(data)
    try:
        record = _Unpickler(io.BytesIO(data)).load()
    except DatasetError:
        raise
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
    ) as error:
        raise DatasetError(f"damaged pickle: {error}") from error
    if not isinstance(record, dict):
        raise DatasetError(f"pickle holds a {type(record).__name__}, not a dictionary")
    for name, value in record.items():
        if not isinstance(name, str) or not isinstance(value, PLAIN):
            raise DatasetError(f"pickle with an entry of type {type(value).__name__} refused")
    return {k: v.view(np.ndarray) if isinstance(v, _Array) else v for k, v in record.items()}


def _scan(data: bytes) -> None:
    """Refuse what a record of numbers and arrays does not need, before anything of it runs."""
    stored: dict[int, str] = {}
    previous = ""
    argument: Any
    try:
        for count, (code, argument, _) in enumerate(pickletools.genops(data)):
            if code.name not in ALLOWED:
                raise DatasetError(
                    f"pickle with instruction {code.name} refused: it is not a record of numbers"
                )
            if count >= MAX_INSTRUCTIONS:
                raise DatasetError(f"pickle of more than {MAX_INSTRUCTIONS} instructions refused")
            if code.name in STORE:
                slot = len(stored) if code.name == "MEMOIZE" else int(argument)
                if slot > MAX_INSTRUCTIONS:  # the memo is an array: a large number is a large allocation
                    raise DatasetError(f"pickle with memo slot {slot} refused")
                stored[slot] = previous
            elif code.name in FETCH and stored.get(int(argument), "") not in SHAREABLE:
                raise DatasetError(f"pickle that uses memo slot {argument} twice refused")
            elif code.name == "FRAME" and int(argument) > len(data):
                raise DatasetError(f"damaged pickle: a frame of {argument} bytes in {len(data)}")
            if code.name not in STORE:  # storing leaves the stack as it is
                previous = stored[int(argument)] if code.name in FETCH else code.name
    except ValueError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"damaged pickle: {error}") from error


class _DType:
    """Stand-in for ``numpy.dtype``: remembers one of the plain number types."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not DTYPE.fullmatch(code):
            raise DatasetError("pickle with an array of other things than plain numbers refused")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise DatasetError("damaged pickle: a number type without byte order")
        if any(part is not None for part in state[2:5]):
            raise DatasetError("pickle with a structured array refused")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """Stand-in for ``numpy.ndarray`` that takes its bytes only if there are as many as its shape says."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise DatasetError("damaged pickle: an array without contents")
        _, shape, dtype, fortran, data = state
        array = _filled(data, dtype, shape, "F" if fortran else "C")
        super().__setstate__((1, array.shape, array.dtype, bool(fortran), bytes(data)))  # type: ignore[arg-type]


def _filled(data: Any, dtype: Any, shape: Any, order: str = "C") -> NDArray[Any]:
    sizes = shape if isinstance(shape, tuple) else ()
    if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray) or order not in ("C", "F"):
        raise DatasetError("damaged pickle: an array of no plain numbers")
    if not all(isinstance(n, int) and 0 <= n <= len(data) for n in sizes) or len(sizes) > 8:
        raise DatasetError(
            f"pickle with an array that claims more numbers than its {len(data)} bytes refused"
        )
    count = 1
    for n in sizes:
        count *= n
    if count * dtype.dtype.itemsize != len(data):
        raise DatasetError(f"damaged pickle: {len(data)} bytes for an array of shape {sizes}")
    return np.frombuffer(data, dtype=dtype.dtype).reshape(sizes, order="F" if order == "F" else "C")


class _Constructor:
    """Stand-in for one of numpy's constructors; a pickle can call it, but not change it."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise DatasetError("pickle that changes a function refused")


def _reconstruct(*_: Any) -> _Array:
    return np.ndarray.__new__(_Array, (0,), np.int8)  # whatever size the pickle asks for


def _ndarray(*_: Any) -> Any:
    raise DatasetError("pickle that makes an array without contents refused")


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    return _filled(data, dtype, shape, order)


def _scalar(dtype: Any, data: Any) -> Any:
    return _filled(data, dtype, ())[()]


CONSTRUCTORS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _ndarray,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
"""Every name that a pickle may mention → what it gets."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Give the checked stand-in of one of numpy's constructors, and nothing else."""
        try:
            return _Constructor(CONSTRUCTORS[module, name])
        except KeyError:
            raise DatasetError(f"pickle that asks for {module}.{name} refused") from None

    def persistent_load(self, pid: Any) -> Any:
        """Refuse: a record refers to nothing outside."""
        raise DatasetError(f"pickle with a reference {pid!r:.40} to outside refused")
