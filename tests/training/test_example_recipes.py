"""The recipes among the examples can be read, and say what their schemes allow; the shipped model is adapted
with a recipe that names nothing but labels and model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from helm_ase.checkpoint import load_model
from helm_ase.errors import SettingError
from helm_ase.qc.level import Baseline
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.training.configuration import read_recipe
from helm_ase.training.losses import LossWeights
from helm_ase.training.recipe import Compute
from helm_ase.training.run import train
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


def frames(names, **info):
    made = []
    for split in ("train", "val"):
        for name in names:
            atoms = molecule(name, pbc=False)
            atoms.rattle(0.03, rng=np.random.default_rng(len(made)))
            atoms.info = {"split": split, "charge": 0, "multiplicity": 1, **info}
            atoms.calc = SinglePointCalculator(atoms, energy=-1e3, forces=np.zeros((len(atoms), 3)))
            made.append(atoms)
    return made


def test_the_shipped_model_is_adapted_to_energies_of_neutral_molecules(tmp_path):
    pytest.importorskip("tblite")
    write(tmp_path / "labels.xyz", frames(["H2O", "CH4"]), format="extxyz")
    made = replace(read_recipe(EXAMPLES / "train" / "finetune_shipped.yaml"), folder=str(tmp_path / "run"))
    only = replace(made.stages[0], scheme="finetune", epochs=1, weights=LossWeights(energy=1.0, forces=1.0))
    data = replace(made.data, train=(str(tmp_path / "labels.xyz"),))
    recipe = replace(made, data=data, stages=(only,), compute=Compute(progress_bar=False))
    found, start = load_model(train(recipe)), load_model(made.start)
    assert found.energy_baseline.parameters == start.energy_baseline.parameters
    assert found.baseline == start.baseline
    assert found.predicts == {"energy", "forces"}
    for named, message in (  # baselines that are not those of the start
        ({"baseline": Baseline()}, "adds to the baseline .*: name the same, or renew 'hamiltonian'"),
        ({"energy_baseline": EnergyBaseline()}, "charges needs the atomic charges of an energy_baseline"),
    ):
        other = replace(recipe, data=replace(data, **named), folder=str(tmp_path / "other"))
        with pytest.raises(SettingError, match=message):
            train(other)
    write(tmp_path / "labels.xyz", frames(["H2O"], charge=3, multiplicity=2), format="extxyz")
    with pytest.raises(SettingError, match=r"charge \[3\], which checkpoint 'helm-organic-1' does not know"):
        train(replace(recipe, folder=str(tmp_path / "other")))
