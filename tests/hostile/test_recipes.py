"""Recipes that unfold, repeat themselves, or hold what is no number where one belongs: refused in words."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ase.errors import SettingError
from helm_ase.training.configuration import read_recipe
from helm_ase.training.run import is_over
from shared.bounded_process import readable, refused_in_words
from shared.small_models import tiny_model

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

RECIPES = {
    "a billion laughs": (LAUGHS, "unfolds"),
    "a list in itself": ("a: &a [*a]", "contains itself"),
    "a table in itself": ("a: &a {b: *a}", "contains itself"),
    "ten thousand brackets": ("[" * 10000, "nested|YAML"),
    "ten thousand tables": ("{a: " * 10000, "nested|YAML"),
    "a key twice": ("name: a\nname: b\n", "twice"),
    "a key twice, deep": ("data: {train: [a], train: [b]}", "twice"),
    "a Python object": ("name: !!python/object/apply:os.system ['true']", "YAML"),
    "a Python name": ("name: !!python/name:os.system", "YAML"),
    "tabs": ("data:\n\ttrain: [a]", "YAML"),
    "binary": ("\x00\x01\x02", "YAML"),
    "two documents": ("name: a\n---\nname: b\n", "YAML"),
    "a list": ("[1, 2]", "table of keys"),
    "a text": ("hello", "table of keys"),
    "a number": ("7", "table of keys"),
    "an unknown key": ("naem: a", "did you mean 'name'"),
    "a key that is a number": ("7: a", "unknown key 7"),
    "a key that is a list": ("? [a]\n: b", "YAML|unknown"),
    "a name with a folder": ("name: a/b", "file name without folders"),
    "a name with a folder above": ("name: ../b", "file name without folders"),
    "a hidden name": ("name: .b", "file name"),
    "an empty name": ("name: ''", "not empty"),
    "a name of blanks": ("name: '  '", "not empty"),
    "a name that is a list": ("name: [a]", "name"),
    "a name with NUL": ('name: "a\\0b"', "file name"),
    "a seed that is true": ("seed: true", "must be a number"),
    "a seed in words": ("seed: seven", "must be a number"),
    "a seed of NaN": ("seed: .nan", "finite"),
    "half a seed": ("seed: 0.5", "seed"),
    "no stages": ("stages: []", "at least one stage"),
    "stages that are a number": ("stages: 3", "stages"),
    "a stage that is a text": ("stages: [joint]", "table of keys"),
    "an unknown scheme": ("stages: [{scheme: magic}]", "scheme"),
    "no epochs": ("stages: [{epochs: 0}]", "epochs is 0"),
    "negative epochs": ("stages: [{epochs: -3}]", "epochs is -3"),
    "epochs of NaN": ("stages: [{epochs: .nan}]", "finite"),
    "endless epochs": ("stages: [{epochs: .inf}]", "finite"),
    "epochs that are true": ("stages: [{epochs: true}]", "must be a number"),
    "a rate of NaN": ("stages: [{optimiser: {learning_rate: .nan}}]", "finite"),
    "a negative rate": ("stages: [{optimiser: {learning_rate: -1.0}}]", "learning_rate is -1"),
    "a rate in words": ("stages: [{optimiser: {learning_rate: fast}}]", "must be a number"),
    "a weight of infinity": ("stages: [{weights: {energy: .inf}}]", "finite"),
    "negative weights": ("stages: [{weights: {energy: -1}}]", "energy|weight"),
    "averaging above one": ("stages: [{optimiser: {averaging: 1.5}}]", "averaging is 1.5"),
    "a clip of nothing": ("stages: [{optimiser: {clip: 0}}]", "clip is 0"),
    "a negative minute": ("stages: [{minutes: -1}]", "minutes is -1"),
    "no processes": ("data: {processes: 0}", "processes is 0"),
    "a limit of nothing": ("data: {train_limit: 0}", "train_limit is 0"),
    "in_memory of seven": ("data: {in_memory: 7}", "true or false"),
    "train that is a number": ("data: {train: 7}", "train"),
    "an unknown baseline": ("data: {baseline: {name: magic}}", "magic"),
    "no devices": ("compute: {devices: 0}", "devices is 0"),
    "an unknown precision": ("compute: {precision: 4-bit}", "precision"),
    "an element in words": ("elements: [H]", "must be a number"),
    "a cutoff of NaN": ("model: {backbone: {cutoff: .nan}}", "finite"),
    "a negative cutoff": ("model: {backbone: {cutoff: -3}}", "cutoff"),
    "parity of two": ("model: {backbone: {parity: 2}}", "true or false"),
    "renew without start": ("renew: [energy]", "renew"),
    "a number of ten thousand digits": ("seed: " + "9" * 10000, "seed|YAML"),
    "a date that is none": ("seed: 2024-99-99", "YAML|seed"),
    "escapes": ('naem: "\\e[2J"', "unknown key"),
    "a megabyte of names": ("name: " + "a" * 2**21, "less than"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_cannot_be_is_refused(name, tmp_path, bounded):
    content, words = RECIPES[name]
    (tmp_path / "recipe.yaml").write_text(content)
    text = refused_in_words(bounded.ask("read_recipe", tmp_path / "recipe.yaml"))
    assert any(word in text for word in words.split("|")), text


OVERRIDES = {
    "no value": ("seed", "KEY=VALUE"),
    "nothing there": ("stages.7.epochs=5", "nothing at"),
    "a stage by name": ("stages.first.epochs=5", "nothing at"),
    "a value that unfolds": (f"seed=[{'[' * 200}", "YAML"),
    "a value of NaN": ("seed=.nan", "finite"),
    "a value that is true": ("seed=true", "must be a number"),
    "an unknown key": ("sede=1", "unknown key"),
    "an empty key": ("=1", "unknown key|nothing at"),
    "a Python object": ("name=!!python/object/apply:os.system ['true']", "YAML"),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_an_override_that_cannot_be_is_refused(name, tmp_path, bounded):
    override, words = OVERRIDES[name]
    (tmp_path / "recipe.yaml").write_text("name: a\nstages: [{epochs: 1}]\n")
    text = refused_in_words(bounded.ask("read_recipe", tmp_path / "recipe.yaml", [override]))
    assert any(word in text for word in words.split("|")), text


PLACES = {"a folder": ".", "a device": "/dev/zero", "nothing": "absent.yaml"}


@pytest.mark.parametrize("name", PLACES)
def test_a_recipe_is_a_file(name, tmp_path, bounded):
    refused_in_words(bounded.ask("read_recipe", tmp_path / PLACES[name]))


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["data", "stages", "folder", "name", "model", "start", "renew", "elements", "seed",
                            "compute"]), value=TREES)  # fmt: skip
def test_any_value_of_any_key_is_read_or_refused(key, value, tmp_path):
    import yaml

    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({key: value}), encoding="utf8")
    try:
        read_recipe(tmp_path / "recipe.yaml")
    except SettingError as refused:
        readable(str(refused))


# --- states from which a stage resumes ----------------------------------------------------------------

STATES = {
    "nothing": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("last"),
    "cut short": lambda path: (torch.save({"helm_ase": {"over": True}, "x": torch.zeros(9999)}, path),
                               path.write_bytes(path.read_bytes()[:5000])),
    "of another program": lambda path: torch.save({"state_dict": {}, "epoch": 3}, path),
    "a list": lambda path: torch.save([1, 2], path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "of another network": lambda path: torch.save(
        {"helm_ase": {"over": True}, "state_dict": {"model.energy_scale": torch.zeros(7)}}, path),
    "a pickle that runs code": lambda path: path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR."),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_is_damaged_or_foreign_is_said_with_the_way_out(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.ckpt"
    STATES[name](path)
    with pytest.raises(
        SettingError, match=r"last\.ckpt .*: remove it, and the stage\s+starts again"
    ) as refused:
        is_over(path, tiny_model())
    readable(str(refused.value))
    assert not (tmp_path / "pwned").exists()


CASES = [*RECIPES, *(f"override: {o}" for o in OVERRIDES), *(f"place: {p}" for p in PLACES),
         *(f"state: {s}" for s in STATES)]  # fmt: skip
