"""A folder belongs to one run; what may change in the middle of it, and what is said where it may not."""

import json
from dataclasses import replace

import pytest

from helm_ase.errors import SettingError
from helm_ase.nn import BackboneSettings, HELMSettings
from helm_ase.training.recipe import Compute, DataSettings, Recipe, Stage
from helm_ase.training.run_folder import FINGERPRINT, RECIPE, claim_folder

FILES = [{"name": "labels.h5", "sha256": "0" * 64}]


@pytest.fixture
def recipe(tmp_path):
    data = DataSettings(train=("labels.h5",), validation=("labels.h5",))
    return Recipe(
        data, (Stage(epochs=6), Stage(scheme="frozen")), str(tmp_path / "run"), model=HELMSettings()
    )


def claimed(recipe, files=FILES, start=None):
    claim_folder(recipe, files, start)
    return recipe


def test_a_new_folder_gets_the_recipe_and_the_same_recipe_may_come_again(recipe, tmp_path):
    for _ in range(2):
        claimed(recipe)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {RECIPE, FINGERPRINT}


def test_where_and_how_fast_a_run_is_done_may_change(recipe, tmp_path):
    claimed(recipe)
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    data = replace(recipe.data, train=("elsewhere/labels.h5",), processes=7, cache="cache", loaders=2)
    stages = tuple(replace(stage, save_every=5) for stage in recipe.stages)
    claimed(replace(recipe, folder=str(moved), data=data, stages=stages, compute=Compute(accelerator="gpu")))


def test_what_differs_is_said_with_both_values(recipe):
    claimed(recipe)
    other = replace(recipe, seed=3, stages=(replace(recipe.stages[0], epochs=8), recipe.stages[1]))
    with pytest.raises(
        SettingError, match=r"epochs is 6 there and 8 here; seed is 0 there and 3 here.*to go on"
    ):
        claimed(other)
    with pytest.raises(SettingError, match="its labels are not these"):
        claimed(recipe, [FILES[0] | {"sha256": "1" * 64}])
    with pytest.raises(SettingError, match="it started from another checkpoint"):
        claimed(recipe, start="2" * 64)
    with pytest.raises(SettingError, match=r"stages\.1\.scheme is \"frozen\" there"):
        claimed(replace(recipe, stages=(recipe.stages[0], Stage(scheme="direct"))))
    claimed(recipe)


def begun_without(recipe, *keys):
    """The folder of a run as it was before the recipe had these keys."""
    claimed(recipe)
    marker = f"{recipe.folder}/{FINGERPRINT}"
    with open(marker) as file:
        recorded = json.load(file)
    for key in keys:
        *path, last = key.split(".")
        place = recorded["recipe"]
        for name in path:
            place = place[int(name) if name.isdigit() else name]
        del place[last]
    with open(marker, "w") as file:
        json.dump(recorded, file)


def test_a_run_begun_before_a_key_existed_goes_on_if_the_key_says_what_was_done_then(recipe):
    old = BackboneSettings(state_heads=0, pair_decay_length=0.0)
    recipe = replace(recipe, model=HELMSettings(old))
    begun_without(
        recipe, "data.energy_baseline", "stages.0.save_every", "stages.1.keep", "model.backbone.state_heads",
        "model.backbone.pair_decay_length", "model.backbone.gaussian_spacing",
    )  # fmt: skip
    claimed(recipe)
    with pytest.raises(
        SettingError, match=r"state_heads is 0 there \(before there was such a key\) and 8 here"
    ):
        claimed(replace(recipe, model=HELMSettings(replace(old, state_heads=8))))


def test_a_key_that_is_gone_is_named(recipe):
    claimed(recipe)
    marker = f"{recipe.folder}/{FINGERPRINT}"
    with open(marker) as file:
        recorded = json.load(file)
    recorded["recipe"]["cosmology"] = 3
    with open(marker, "w") as file:
        json.dump(recorded, file)
    with pytest.raises(SettingError, match="cosmology is 3 there and absent here"):
        claimed(recipe)


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_damaged_marker_is_refused(recipe, content):
    claimed(recipe)
    with open(f"{recipe.folder}/{FINGERPRINT}", "w") as file:
        file.write(content)
    with pytest.raises(SettingError, match=FINGERPRINT):
        claimed(recipe)
