"""Training schemes by name: the quantities that are learnt, the weights that change, and their learning
rates.

The paper's three (§4): energies alone (``direct``), Hamiltonians alone (``hamiltonian``), and energies on top
of a backbone that has learnt Hamiltonians, which then stays (``frozen``) or moves along (``finetune``).
``joint`` learns everything at once, ``edges`` Hamiltonians on top of nodes that stay, as energies then do.
"""

from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from helm_ase.errors import SettingError
from helm_ase.nn import HELM
from helm_ase.training.losses import LossWeights
from helm_ase.training.recipe import Recipe, SchemeName, Stage

Part = Literal["nodes", "edges", "hamiltonian", "energy"]

OF_EDGES = ("backbone.pair_scalars", "backbone.edge_updates", "backbone.norm_edges", "backbone.norm_nodes")
"""Parameters that only a Hamiltonian needs; the norm of the nodes comes before its on-site blocks."""


@dataclass(frozen=True)
class Scheme:
    """Training scheme: loss, and which parts of the network change."""

    weights: LossWeights
    """Weights of the loss terms, unless the stage has its own."""
    moves: frozenset[Part]
    """Parts of the network that are trained, as far as the loss depends on them."""
    backbone_rate: float = 1.0
    """Learning rate of nodes, edges and Hamiltonian head, relative to that of the energy head."""


LEARNT: dict[str, tuple[str, ...]] = {"hamiltonian": ("hamiltonian",), "energy": ("energy", "forces")}
"""Part of the network → what a checkpoint can be asked for once it is trained."""
EVERYTHING: frozenset[Part] = frozenset({"nodes", "edges", "hamiltonian", "energy"})
ENERGY = LossWeights(energy=1.0)
SCHEMES: dict[SchemeName, Scheme] = {
    "direct": Scheme(ENERGY, frozenset({"nodes", "energy"})),
    "hamiltonian": Scheme(
        LossWeights(hamiltonian=1.0, spectrum=0.1), frozenset({"nodes", "edges", "hamiltonian"})
    ),
    "frozen": Scheme(ENERGY, frozenset({"energy"})),
    "edges": Scheme(LossWeights(hamiltonian=1.0, spectrum=0.1), frozenset({"edges", "hamiltonian"})),
    "finetune": Scheme(ENERGY, EVERYTHING, backbone_rate=0.3),
    "joint": Scheme(LossWeights(hamiltonian=1.0, spectrum=0.1, energy=0.3, forces=0.5), EVERYTHING),
}


def settled(stage: Stage) -> Stage:
    """Stage in which everything that the recipe leaves open is filled in from the scheme.

    Raises
    ------
    SettingError
        If the weights ask for what the scheme does not train.
    """
    scheme = SCHEMES[stage.scheme]
    rate = scheme.backbone_rate if stage.backbone_rate is None else stage.backbone_rate
    stage = replace(stage, weights=stage.weights or scheme.weights, backbone_rate=rate)
    for weights in (stage.weights, stage.late_weights):
        if weights is None:
            continue
        if not weights.wanted:
            raise SettingError(f"stage {stage.scheme!r} has no loss: every weight is zero")
        if weights.needs_hamiltonian and "hamiltonian" not in scheme.moves:
            raise SettingError(f"scheme {stage.scheme!r} does not train Hamiltonians: set their weights to 0")
        if weights.needs_energy and "energy" not in scheme.moves:
            raise SettingError(f"scheme {stage.scheme!r} does not train energies: set their weights to 0")
    return stage


def check_order(recipe: Recipe) -> None:
    """Refuse a recipe that builds on a backbone which nothing has trained.

    Raises
    ------
    SettingError
        If the first stage is ``frozen``, ``finetune`` or ``edges`` and there is no checkpoint to start from.
    """
    first = recipe.stages[0].scheme
    if first in ("frozen", "finetune", "edges") and recipe.start is None:
        raise SettingError(
            f"scheme {first!r} needs a trained backbone: put a stage that trains one before it, or name a "
            "checkpoint in start"
        )


def part_of(name: str) -> Part:
    """Part of the network to which a parameter belongs."""
    if name.startswith("hamiltonian_heads."):
        return "hamiltonian"
    if name.startswith("energy_head."):
        return "energy"
    return "edges" if name.startswith(OF_EDGES) else "nodes"


def moving_parts(stage: Stage) -> frozenset[Part]:
    """Parts that a settled stage trains: those of its scheme on which its loss depends at any time."""
    weights = [w for w in (stage.weights, stage.late_weights) if w is not None]
    reached: set[Part] = {"nodes"}
    if any(w.needs_hamiltonian for w in weights):
        reached |= {"edges", "hamiltonian"}
    if any(w.needs_energy for w in weights):
        reached |= {"energy"}
    return SCHEMES[stage.scheme].moves & reached


def learnt_after(stage: Stage, before: frozenset[str]) -> frozenset[str]:
    """Quantities that a model predicts after a stage.

    If a stage changes the backbone, heads that it does not train become useless.
    """
    moving = moving_parts(stage)
    gained = {name for part in moving for name in LEARNT.get(part, ())}
    return frozenset(gained if "nodes" in moving else gained | before)


def freeze(model: HELM, stage: Stage) -> dict[bool, list[nn.Parameter]]:
    """Switch gradients on for what a settled stage trains and off for the rest.

    Returns
    -------
    dict
        The trained parameters: under True those of the energy head (or all, if nothing else is pretrained),
        under False those that move at ``backbone_rate``.
    """
    moving = moving_parts(stage)
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        part = part_of(name)
        parameter.requires_grad_(part in moving)
        if part in moving:
            groups[part == "energy"].append(parameter)
    return groups
