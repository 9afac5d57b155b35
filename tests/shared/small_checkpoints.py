"""A checkpoint whose numbers are all its own, none a default."""

import numpy as np
import torch

from helm_ase.checkpoint import Checkpoint
from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.qc.level import Baseline, LevelOfTheory
from helm_ase.representation import AOBasis
from helm_ase.representation.coverage import DistanceCoverage


def tiny_checkpoint(seed=0):
    backbone = BackboneSettings(
        natural_channels=2, unnatural_channels=1, lmax=1, mmax_nodes=1, node_layers=1, edge_layers=1,
        gaussians=4, radial_hidden=4,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = HELM(AOBasis("def2-svp", {1: (0,)}), HELMSettings(backbone=backbone, energy_hidden=4))
    model.energy_reference.fill_(-13.1)
    model.energy_scale.fill_(0.7)
    coverage = DistanceCoverage.collect([(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 0.74]]))], 5.0)
    return Checkpoint(
        "tiny", model.eval(), LevelOfTheory(grid_level=4), Baseline("sap"), coverage,
        {"data_sha256": "ab" * 32, "train_structures": 3}, {"hamiltonian": 12.5},
    )  # fmt: skip
