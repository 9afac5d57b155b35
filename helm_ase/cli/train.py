"""``helm-ase train``."""

import argparse
import logging
from collections.abc import Mapping
from typing import Any


def add_commands(commands: Any) -> None:
    """Add ``train``."""
    train = commands.add_parser(
        "train",
        help="train a model as a recipe (YAML file) describes it",
        description="Train a model on label files.  The recipe, a YAML file, states the data, the network, "
        "the stages of the training and the folder for the results; --print-defaults prints one to begin "
        "with.  To continue an interrupted run, run the same command again.",
    )
    train.add_argument(
        "recipe", nargs="?", help="YAML file; relative paths in it are relative to the folder it is in"
    )
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="replace a value of the recipe, as in --set stages.0.epochs=5, which changes the first stage "
        "(may be repeated)",
    )  # fmt: skip
    train.add_argument(
        "--print-defaults",
        action="store_true",
        help="print a recipe with every key, its default and its meaning, and stop",
    )
    train.add_argument(
        "--print-recipe",
        action="store_true",
        help="print the recipe with all defaults filled in and --set applied, and stop",
    )
    train.set_defaults(command=_train, after_interrupt="(the same command goes on from the last epoch)")


def _train(options: argparse.Namespace) -> None:
    from helm_ase.checkpoint import read_checkpoint
    from helm_ase.errors import SettingError

    try:
        from helm_ase.training import configuration
        from helm_ase.training.run import train
    except ModuleNotFoundError as error:
        raise SettingError(
            f"training needs {error.name}, which is not installed: pip install 'helm-ase[train]'"
        ) from error
    if options.print_defaults:
        print(configuration.defaults_as_yaml(), end="")
        return
    if options.recipe is None:
        raise SettingError("helm-ase train needs a recipe; --print-defaults prints one to begin with")
    recipe = configuration.read_recipe(options.recipe, options.overrides)
    if options.print_recipe:
        print(configuration.to_yaml(recipe), end="")
        return
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # this process is ours
    try:
        target = train(recipe)
    except SystemExit as error:  # Lightning's reaction to Ctrl-C
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from error
    print(f"{target}: {_errors(read_checkpoint(target).metrics)}")


def _errors(metrics: Mapping[str, float]) -> str:
    """Validation errors of a checkpoint in one line."""
    from helm_ase.training.curves import UNITS

    shown = [f"{label} {metrics[key]:.4g} {unit}" for key, (label, unit) in UNITS.items() if key in metrics]
    return "validation errors " + ", ".join(shown) if shown else "no validation errors"
