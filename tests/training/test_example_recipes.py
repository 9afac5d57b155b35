"""The recipes among the examples can be read, and say what their schemes allow."""

from pathlib import Path

import pytest

from helm_ase.training.configuration import read_recipe
from helm_ase.training.schemes import check_order, settled

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPES = sorted(EXAMPLES.rglob("*.yaml"))


def test_there_are_recipes():
    assert len(RECIPES) >= 5


@pytest.mark.parametrize("path", RECIPES, ids=[str(p.relative_to(EXAMPLES)) for p in RECIPES])
def test_recipe_is_sound(path):
    recipe = read_recipe(path)
    check_order(recipe)
    for stage in recipe.stages:
        settled(stage)
