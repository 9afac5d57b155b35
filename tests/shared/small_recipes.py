"""A network and recipes small enough for tests."""

from pathlib import Path

from helm_ase.nn import BackboneSettings, HELMSettings
from helm_ase.qc.level import Baseline
from helm_ase.training.losses import LossWeights
from helm_ase.training.recipe import Compute, DataSettings, OptimiserSettings, RateSettings, Recipe, Stage
from shared.sample_labels import TINY

SETTINGS = HELMSettings(
    backbone=BackboneSettings(
        natural_channels=8, unnatural_channels=4, lmax=2, mmax_nodes=2, node_layers=2, edge_layers=1,
        gaussians=16, radial_hidden=16, pair_cutoff=8.0,
    ),
    energy_hidden=16,
)  # fmt: skip
ALL = LossWeights(hamiltonian=1.0, spectrum=0.1, energy=0.1, forces=0.1)
QUICK = OptimiserSettings(learning_rate=5e-3, averaging=0.9)


def stage(scheme: str = "joint", epochs: int = 4, **more) -> Stage:
    defaults = {"optimiser": QUICK, "rate": RateSettings(warmup_steps=5), "batch_load": 30}
    if scheme == "joint":
        defaults["weights"] = ALL
    return Stage(scheme, epochs=epochs, **(defaults | more))


def recipe(data: Path, folder: Path, *stages: Stage, **more) -> Recipe:
    settings = DataSettings(train=(str(data),), level=TINY, baseline=Baseline("sap"))
    defaults = {"data": settings, "model": SETTINGS, "compute": Compute(progress_bar=False)}
    return Recipe(stages=stages or (stage(),), folder=str(folder), **(defaults | more))


__all__ = ["ALL", "QUICK", "SETTINGS", "recipe", "stage"]
