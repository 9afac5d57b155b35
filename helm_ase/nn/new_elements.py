"""Weights of a network that knows some elements, in one that knows more.

Nearly all weights are shared by the elements.  What is not are tables with one row for each element, or for
each ordered pair of them: embeddings, references of the energy, scales, shifts and gains of the read-outs.
"""

import torch

from helm_ase.errors import SettingError
from helm_ase.nn.model import HELM


@torch.no_grad()
def adopt_weights(model: HELM, start: HELM) -> None:
    """Take over all weights of another network; rows of elements that it lacks stay as they are.

    Parameters
    ----------
    model
        Network of the same form whose elements include those of the other; changed in place.
    start
        Network whose weights are taken.

    Raises
    ------
    SettingError
        If the other network has an element that this one lacks, or a tensor of another form.
    """
    ours, theirs = model.basis.elements, start.basis.elements
    if missing := sorted(set(theirs) - set(ours)):
        raise SettingError(
            f"the network lacks the elements {missing} of the one whose weights it should adopt"
        )
    rows = torch.tensor([ours.index(z) for z in theirs])
    weights, taken = model.state_dict(), start.state_dict()
    if weights.keys() != taken.keys():
        raise SettingError("the two networks have different parts")
    pairs = (rows[:, None] * len(ours) + rows).flatten()
    places = {(len(ours), len(theirs)): rows, (len(ours) ** 2, len(theirs) ** 2): pairs}
    for name, weight in weights.items():
        other = taken[name]
        if weight.shape == other.shape:
            weight.copy_(other)
        elif weight.shape[1:] == other.shape[1:] and (len(weight), len(other)) in places:
            weight[places[len(weight), len(other)]] = other
        else:
            raise SettingError(
                f"{name} has the shape {tuple(weight.shape)} here and {tuple(other.shape)} there"
            )
