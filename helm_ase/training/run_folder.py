"""Folder of a run: which recipe, labels and start it belongs to, and whether a recipe may go on in it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from helm_ase.checkpoint.format import BACKBONE_BEFORE
from helm_ase.errors import SettingError
from helm_ase.nn import HELMSettings
from helm_ase.representation.level import LevelOfTheory
from helm_ase.system.atomic_write import whole_file
from helm_ase.training.configuration import plain, to_yaml
from helm_ase.training.losses import LossWeights
from helm_ase.training.recipe import Compute, DataSettings, Recipe, Stage

RECIPE, FINGERPRINT = "recipe.yaml", "fingerprint.json"
"""Files of a run: the recipe with every key, and what identifies the run."""
BEFORE: dict[str, Any] = {
    "data.energy_baseline.name": "none",
    **{f"model.backbone.{key}": value for key, value in BACKBONE_BEFORE.items()},
}
"""Keys whose default is not what the package did before it had them → what it did."""
EVERY_KEY = Recipe(
    data=DataSettings(level=LevelOfTheory()),
    stages=(Stage(weights=LossWeights(), late_weights=LossWeights()),),
    model=HELMSettings(),
)
"""Recipe in which every key stands with its default."""
WITHOUT_EFFECT = ("folder", "start", "data.cache", "data.processes", "data.loaders", "stages.*.save_every")
"""Keys that may change in the middle of a run, because no step depends on them; the checkpoint in ``start``
is compared by its content."""


def claim_folder(recipe: Recipe, files: Sequence[Mapping[str, str]], start_sha256: str | None) -> None:
    """Write the recipe into its folder, or check that the run there is of this recipe, labels and start.

    Where it runs, and what changes no step of it, may differ.

    Parameters
    ----------
    recipe
        The recipe.
    files
        Names and SHA-256 of the label files.
    start_sha256
        SHA-256 of the checkpoint from which training starts, if it starts from one.

    Raises
    ------
    SettingError
        If the folder holds another run: what differs, and how.
    """
    folder = Path(recipe.folder)
    same = replace(recipe, folder="", compute=Compute(precision=recipe.compute.precision))
    ours = {"recipe": plain(asdict(same)), "data": list(files), "start": start_sha256}
    marker = folder / FINGERPRINT
    if marker.exists():
        if differences := "; ".join(_differences(_recorded(marker), ours)):
            raise SettingError(
                f"{folder} holds another run: {differences}. Give the recipe what stands there to go on with "
                "that run, or use another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in ((folder / RECIPE, to_yaml(recipe)), (marker, json.dumps(ours, sort_keys=True))):
        with whole_file(path) as partial:
            partial.write_text(content, encoding="utf8")


def _recorded(marker: Path) -> dict[str, Any]:
    """What the file says that identifies the run."""
    try:
        recorded = json.loads(marker.read_text(encoding="utf8"))
    except ValueError as error:
        raise SettingError(
            f"{marker} is damaged ({error}): use another folder, or remove this one"
        ) from error
    if not isinstance(recorded, dict):
        raise SettingError(f"{marker} does not describe a run: use another folder, or remove this one")
    return recorded


def _differences(recorded: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """What differs between the run in the folder and this one, in words."""
    if recorded.get("data") != ours["data"]:
        yield "its labels are not these"
    if recorded.get("start") != ours["start"]:
        yield "it started from another checkpoint"
    theirs, mine = (dict(_flat(x.get("recipe", {}))) for x in (recorded, ours))
    defaults = dict(_flat(plain(asdict(EVERY_KEY))))
    for key, value in mine.items():
        general = re.sub(r"\.\d+", ".*", key)
        if general in WITHOUT_EFFECT:
            continue
        default = defaults.get(general.replace("*", "0"), value)
        before = theirs.get(key, BEFORE.get(general, default))
        if before != value:
            since = "" if key in theirs else " (before there was such a key)"
            yield f"{key} is {json.dumps(before)} there{since} and {json.dumps(value)} here"
    for key in theirs.keys() - mine.keys():
        yield f"{key} is {json.dumps(theirs[key])} there and absent here"


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dictionaries and lists of them as keys with dots, and what stands under them; files by name."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for k, inner in enumerate(value):
            yield from _flat(inner, f"{key}.{k}")
    else:
        yield key, [Path(p).name for p in value] if key in ("data.train", "data.validation") else value
