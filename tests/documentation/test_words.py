"""What the program says about itself: every key in a sentence, every docstring able to stand alone."""

import argparse
import ast
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import helm_ase
from helm_ase.cli import _parser
from helm_ase.training.configuration import attribute_notes, record_inside
from helm_ase.training.recipe import Recipe

ROOT = Path(helm_ase.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def records(record=Recipe):
    """The records of a recipe, from the outermost in."""
    yield record
    for annotation in get_type_hints(record).values():
        if (inner := record_inside(annotation)) is not None:
            yield from records(inner)


KEYS = sorted({(r, f.name) for r in records() for f in fields(r)}, key=lambda key: (key[0].__name__, key[1]))


def docstrings(path):
    """Line and text of every docstring of a module, those below attributes included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        body = getattr(node, "body", [])
        for below in body if isinstance(body, list) else []:
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                yield below.lineno, str(below.value.value)


def test_the_walk_through_the_recipe_reaches_all_its_records():
    names = {record.__name__ for record in records()}
    assert {"Recipe", "DataSettings", "Stage", "LossWeights", "BackboneSettings", "Baseline"} <= names
    assert all(is_dataclass(record) and get_args(record) == () for record in records())
    assert len(KEYS) > 90


@pytest.mark.parametrize(("record", "key"), KEYS, ids=lambda x: getattr(x, "__name__", x))
def test_every_key_of_a_recipe_is_explained_by_a_full_sentence(record, key):
    note = attribute_notes(record).get(key, "")
    assert len(note.split()) >= 4, f"{record.__name__}.{key}: {note!r}"
    assert note[0].isupper(), f"{record.__name__}.{key}: {note!r}"
    assert note.endswith("."), f"{record.__name__}.{key}: {note!r}"
    assert not note.startswith(("Of ", "As ", "Which:")), f"{record.__name__}.{key}: {note!r}"


def commands(parser, words="helm-ase"):
    """Every command with its parser, down to those that have no further ones below them."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield words, parser
    for action in below:
        assert {choice.dest for choice in action._choices_actions if choice.help} == set(action.choices)
        for name, command in action.choices.items():
            yield from commands(command, f"{words} {name}")


@pytest.mark.parametrize(
    ("name", "parser"), list(commands(_parser())), ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_option_of_the_command_line_is_explained(name, parser):
    silent = [a.dest for a in parser._actions if a.dest != "help" and len((a.help or "").split()) < 3]
    assert silent == [], name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_docstring_begins_with_of(path):
    assert [line for line, text in docstrings(path) if re.match(r"\s*Of\b", text)] == []
    assert [line for line, text in docstrings(path) if not text.strip()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_parameter_is_described_by_of_alone(path):
    """Such as *Of the grid*, which means something only together with the name of the parameter."""
    pattern = re.compile(r"^ *[a-z_]\w*(?:, [a-z_]\w*)*\n +Of\b", re.MULTILINE)
    assert [line for line, text in docstrings(path) if pattern.search(text)] == []
