"""Recipes: strict, complete, and the same wherever they are read."""

from dataclasses import fields

import pytest
import yaml

from helm_ase.errors import SettingError
from helm_ase.training.configuration import (
    attribute_notes,
    check_keys,
    defaults_as_yaml,
    parse_recipe,
    read_recipe,
    to_yaml,
)
from helm_ase.training.losses import LossWeights
from helm_ase.training.recipe import Compute, DataSettings, OptimiserSettings, RateSettings, Recipe, Stage


def test_the_printed_defaults_are_the_defaults():
    assert parse_recipe(yaml.safe_load(defaults_as_yaml())) == Recipe()


def test_a_recipe_survives_being_written_and_read():
    recipe = Recipe(
        data=DataSettings(train=("a.h5", "b.h5"), train_limit=10),
        stages=(Stage("hamiltonian", minutes=3.0), Stage(late_weights=LossWeights(energy=2.0))),
    )
    assert parse_recipe(yaml.safe_load(to_yaml(recipe))) == recipe


@pytest.mark.parametrize("record", [Recipe, Stage, DataSettings, OptimiserSettings, RateSettings, Compute])
def test_every_key_is_explained(record):
    nested = {"optimiser", "rate", "data", "stages", "compute"}
    assert {f.name for f in fields(record)} <= set(attribute_notes(record)) | nested


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fodler": "x"}, "unknown key 'fodler'.*did you mean 'folder'"),
        ({"data": {"trian": ["x"]}}, "unknown key 'trian' in data.*did you mean 'train'"),
        ({"stages": [{}, {"epoch": 3}]}, "unknown key 'epoch' in stages.1.*did you mean 'epochs'"),
        ({"model": {"backbone": {"lmx": 3}}}, "unknown key 'lmx' in model.backbone.*'lmax'"),
        ({"stages": [{"weights": {"hamiltonain": 1}}]}, "in stages.0.weights.*'hamiltonian'"),
        ({"stages": [{"scheme": "fancy"}]}, "stages.0.scheme.*'direct'.*it is 'fancy'"),
        ({"stages": [{"epochs": "many"}]}, "stages.0.epochs.*it is 'many'"),
        ({"stages": [{"epochs": 0}]}, "epochs is 0; it must be at least 1"),
        ({"stages": [{"weights": {"energy": -1}}]}, "energy.*-1"),
        ({"stages": []}, "at least one stage"),
        ({"stages": [{"epoch_batches": 0}]}, "epoch_batches is 0; it must be at least 1"),
        ({"stages": [{"optimiser": {"averaging": 2}}]}, "averaging is 2.*at most 1"),
        ({"stages": [{"optimiser": {"clip": 0}}]}, "clip is 0"),
        ({"data": {"train_limit": -1}}, "train_limit is -1; it must be at least 1"),
        ({"compute": {"devices": 0}}, "devices is 0"),
        ({"renew": ["energy"]}, "there is none"),
        ({"data": "labels.h5"}, "data must be a table"),
        ([], "a recipe must be a table"),
        ({"seed": True}, "seed must be a number .it is True"),
        ({"seed": "3"}, "seed must be a number .it is '3'"),
        ({"stages": [{"epochs": "5"}]}, "stages.0.epochs must be a number .it is '5'"),
        ({"stages": [{"minutes": float("nan")}]}, "stages.0.minutes is nan"),
        ({"stages": [{"weights": {"energy": float("inf")}}]}, "weights.energy is inf"),
        ({"stages": [{"optimiser": {"learning_rate": False}}]}, "learning_rate must be a number"),
        ({"elements": [1, True]}, "elements.1 must be a number"),
        ({"data": {"in_memory": 1}}, "data.in_memory is 1; it must be true or false"),
        ({"data": {"in_memory": "yes please"}}, "data.in_memory.*true or false"),
        ({"name": ""}, "name is ''.*without folders"),
        ({"name": "  "}, "without folders"),
        ({"name": "../x"}, "without folders"),
        ({"name": "a/b"}, "without folders"),
        ({"name": ".."}, "without folders"),
    ],
)
def test_mistakes_are_named(content, message):
    with pytest.raises(SettingError, match=f"(?s){message}"):
        parse_recipe(content)


@pytest.mark.parametrize(
    "text",
    ["seed: 1\nseed: 2\n", "stages: [{epochs: 1, epochs: 2}]", "data: {}\ndata: {train: [b]}"],
)
def test_keys_that_are_there_twice_are_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(SettingError, match="is there twice: keep one"):
        read_recipe(path)


def test_anchors_and_merged_keys_may_be_overridden(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("stages:\n  - &first {epochs: 1, batch_load: 7}\n  - {<<: *first, epochs: 2}\n")
    assert [(s.epochs, s.batch_load) for s in read_recipe(path).stages] == [(1, 7), (2, 7)]


def test_numbers_that_yaml_takes_for_text_are_numbers():
    content = yaml.safe_load("stages: [{optimiser: {learning_rate: 1e-3}}]")
    assert parse_recipe(content).stages[0].optimiser.learning_rate == 1e-3


def test_paths_count_from_the_recipe_and_overrides_from_the_command_line(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("folder: out\nstages: [{scheme: direct}]\ndata: {train: [a.h5, /b.h5]}\n")
    recipe = read_recipe(path, ["stages.0.epochs=7", "data.train_limit=3", "name=x"])
    assert recipe.folder == str(tmp_path / "out")
    assert recipe.data.train == (str(tmp_path / "a.h5"), "/b.h5")
    assert (recipe.stages[0].epochs, recipe.data.train_limit, recipe.name) == (7, 3, "x")
    with pytest.raises(SettingError, match="not an override"):
        read_recipe(path, ["stages"])
    for wrong in ("stages.4.epochs=1", "stages.9=1", "stages.x=1", "name.x=1"):
        with pytest.raises(SettingError, match="the recipe has nothing at"):
            read_recipe(path, ["name=x", wrong])
    with pytest.raises(SettingError, match="is not YAML"):
        read_recipe(path, ["data.train=[a.h5"])
    assert read_recipe(path, ["stages.0.weights.energy=2"]).stages[0].weights == LossWeights(energy=2.0)
    assert "~" not in read_recipe(path, ["folder=~/run"]).folder
    path.write_text("a: [")
    with pytest.raises(SettingError, match="is not YAML"):
        read_recipe(path)


def test_keys_are_checked_below_optional_records():
    check_keys(Stage, {"weights": None, "late_weights": {"energy": 1}}, "")
    with pytest.raises(SettingError, match="late_weights"):
        check_keys(Stage, {"late_weights": {"enrgy": 1}}, "")


def test_loss_weights_move_over_the_middle_half():
    stage = Stage(weights=LossWeights(energy=0.0), late_weights=LossWeights(energy=1.0))
    assert [stage.weights_at(t).energy for t in (0, 0.25, 0.5, 0.75, 1)] == [0, 0, 0.5, 1, 1]
