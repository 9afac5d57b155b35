"""YAML ↔ recipes, strictly: an unknown key is an error that names the nearest one."""

import ast
import difflib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass, replace
from functools import cache
from math import isfinite
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from helm_ase.errors import SettingError
from helm_ase.training.recipe import Recipe
from helm_ase.training.strict_yaml import load_yaml

LONGEST = 2**20
"""Largest size of a recipe in bytes."""


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; relative paths in it are relative to its folder.

    Parameters
    ----------
    path
        YAML file.
    overrides
        ``key=value`` with dots between nested keys and YAML values: ``stages.0.epochs=5``.

    Raises
    ------
    SettingError
        For a file that is no YAML, an unknown key, or a value that its field cannot take.
    """
    try:
        content = load_yaml(_text_of(Path(path))) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not YAML: {error}") from error
    for override in overrides:
        _override(content, override)
    return anchored(parse_recipe(content), Path(path).parent)


def _text_of(path: Path) -> str:
    """Contents of a file; refused if it is not a file or much too long for a recipe."""
    if path.exists() and (not path.is_file() or path.stat().st_size > LONGEST):
        raise SettingError(f"{path} is no recipe: a text file of less than {LONGEST} bytes is needed")
    return path.read_text(encoding="utf8")


def parse_recipe(content: Any) -> Recipe:
    """Check and convert what a YAML file holds.

    Raises
    ------
    SettingError
        As :func:`read_recipe`.
    """
    check_keys(Recipe, content, "")
    try:
        return TypeAdapter(Recipe).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(k) for k in first["loc"]) or "recipe"
        raise SettingError(f"{where}: {first['msg']} (it is {first['input']!r})") from error


def anchored(recipe: Recipe, folder: Path) -> Recipe:
    """The same recipe with its relative paths taken from ``folder``."""

    def place(path: str) -> str:
        return str((folder / Path(path).expanduser()).absolute())

    data = replace(
        recipe.data,
        train=tuple(map(place, recipe.data.train)),
        validation=tuple(map(place, recipe.data.validation)),
        cache=None if recipe.data.cache is None else place(recipe.data.cache),
        energy_parameters=given if (given := recipe.data.energy_parameters) is None else place(given),
    )
    start = recipe.start
    if start is not None and (folder / start).is_file():
        start = place(start)
    return replace(recipe, data=data, folder=place(recipe.folder), start=start)


def check_keys(record: type, content: Any, where: str) -> None:
    """Refuse keys that a record, or one inside it, does not have.

    Raises
    ------
    SettingError
        Naming the key, what is allowed, and the nearest allowed one.
    """
    if not isinstance(content, Mapping):
        raise SettingError(f"{where or 'a recipe'} must be a table of keys and values, not {content!r}")
    types = get_type_hints(record)
    known = [f.name for f in fields(record)]
    for key, value in content.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            place = f" in {where}" if where else ""
            raise SettingError(f"unknown key {key!r}{place} (allowed: {', '.join(known)}){hint}")
        inner = record_inside(types[key])
        below = f"{where}.{key}" if where else str(key)
        if inner is None or value is None:
            check_numbers(types[key], value, below)
            continue
        if isinstance(value, Sequence) and not isinstance(value, str):
            for k, item in enumerate(value):
                check_keys(inner, item, f"{below}.{k}")
        else:
            check_keys(inner, value, below)


def check_numbers(annotation: Any, value: Any, where: str) -> None:
    """Refuse truth values, texts and numbers that are not finite where a number is expected, and the
    converse.

    Texts such as ``1e-3`` are numbers, although YAML does not know it.

    Raises
    ------
    SettingError
        Naming key and value.
    """
    kinds = {annotation, *get_args(annotation)}
    if isinstance(value, list | tuple):
        for k, item in enumerate(value):
            check_numbers(annotation, item, f"{where}.{k}")
    elif bool in kinds and value is not None and not isinstance(value, bool):
        raise SettingError(f"{where} is {value!r}; it must be true or false")
    elif {int, float} & kinds and str not in kinds and bool not in kinds:
        text = isinstance(value, str) and not re.fullmatch(r"[+-]?[\d.]+[eE][+-]?\d+", value)
        if isinstance(value, bool) or text:
            raise SettingError(f"{where} must be a number (it is {value!r})")
        if isinstance(value, float) and not isfinite(value):
            raise SettingError(f"{where} is {value}; it must be a finite number")


def record_inside(annotation: Any) -> type | None:
    """The record that a field holds, alone, optionally or in a sequence; None if it holds none."""
    if isinstance(annotation, type) and is_dataclass(annotation):
        return annotation
    for part in get_args(annotation):
        if part not in (NoneType, ...) and (record := record_inside(part)) is not None:
            return record
    return None


def _override(content: Any, text: str) -> None:
    path, mark, value = text.partition("=")
    if not mark:
        raise SettingError(f"{text!r} is not an override; write KEY=VALUE, as in stages.0.epochs=5")
    *way, last = path.split(".")
    place = content
    try:
        for key in way:
            place = _inside(place, key)
        place[int(last) if isinstance(place, list) else last] = load_yaml(value)
    except yaml.YAMLError as error:
        raise SettingError(f"{value!r}, for {path}, is not YAML: {error}") from error
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SettingError(f"the recipe has nothing at {path!r} that could be changed") from error


def _inside(place: Any, key: str) -> Any:
    """The table under a key; created if it does not exist."""
    if isinstance(place, list):
        return place[int(key)]
    if place.get(key) is None:
        if key == "stages":
            raise KeyError(key)
        place[key] = {}
    return place[key]


def to_yaml(recipe: Recipe) -> str:
    """The whole recipe, every value spelled out."""
    text: str = yaml.safe_dump(plain(asdict(recipe)), sort_keys=False, allow_unicode=True)
    return text


def without_places(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, with names of files instead of paths, for headers that others read."""
    data = replace(
        recipe.data,
        train=tuple(Path(p).name for p in recipe.data.train),
        validation=tuple(Path(p).name for p in recipe.data.validation),
        cache=None,
    )
    start = None if recipe.start is None else Path(recipe.start).name
    values: dict[str, Any] = plain(asdict(replace(recipe, data=data, folder="", start=start)))
    return values


def plain(value: Any) -> Any:
    """Tuples → lists, inside and out, as YAML and JSON have them."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def defaults_as_yaml() -> str:
    """Every field with its default and meaning, as a recipe that can be read back."""
    head = (
        "# A recipe with every key and its default. Your own recipe needs only the values that differ.",
        "# Lines with a second # show the keys of an entry that is null by default.",
        "# H is the Kohn-Sham Hamiltonian, H0 its baseline, ΔH = H − H0 what the network predicts; S is",
        "# the overlap matrix, C the orbital coefficients. Eh is the Hartree, a0 the Bohr radius.",
        "# The paper is that of the method, arXiv:2510.00224.",
    )
    return "\n".join([*head, *_commented(Recipe, "")]) + "\n"


def _commented(record: type, indent: str) -> Iterator[str]:
    types, notes = get_type_hints(record), attribute_notes(record)
    for entry in fields(record):
        yield from (f"{indent}# {line}" for line in textwrap.wrap(notes.get(entry.name, ""), 96))
        inner, value = record_inside(types[entry.name]), _default(entry)
        if inner is None or value == ():
            text = yaml.safe_dump(plain(value), default_flow_style=True).splitlines()[0]
            yield f"{indent}{entry.name}: {text}"
        elif value is None:
            yield f"{indent}{entry.name}: null"
            yield from (f"{indent}#   {line}" for line in _commented(inner, ""))
        elif isinstance(value, tuple):
            lines = list(_commented(inner, ""))
            first = next(k for k, line in enumerate(lines) if not line.startswith("#"))
            yield f"{indent}{entry.name}:"
            yield from (f"{indent}  {'- ' if k == first else '  '}{line}" for k, line in enumerate(lines))
        else:
            yield f"{indent}{entry.name}:"
            yield from _commented(inner, indent + "  ")


def _default(entry: "Field[Any]") -> Any:
    return entry.default_factory() if entry.default_factory is not MISSING else entry.default


@cache
def attribute_notes(record: type) -> dict[str, str]:
    """Docstrings that stand under the fields of a record."""
    body = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    assert isinstance(body, ast.ClassDef)
    notes = {}
    for field_, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field_, ast.AnnAssign) and isinstance(below, ast.Expr):
            notes[ast.unparse(field_.target)] = inspect.cleandoc(ast.literal_eval(below.value))
    return notes
