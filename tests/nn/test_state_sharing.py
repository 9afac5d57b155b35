"""Charge and spin reach atoms as local shares, and blocks of distant atoms fade."""

import numpy as np
import pytest
import torch

from helm_ase.dataset.batch import shared_states
from helm_ase.errors import ChargeError, SettingError
from helm_ase.nn import BackboneSettings
from helm_ase.nn.state_sharing import MolecularState, StateEnergy, StateSharing, softmax_over
from helm_ase.representation.graph import batch_graphs
from shared.deviations import relative
from shared.geometries import FORMAMIDE, WATER
from shared.rotations import rotation
from shared.small_models import SPD, graph, run, tiny_model

STATES = {"charges": (-1, 0, 1), "multiplicities": (1, 2, 3), "state_heads": 4}


@pytest.fixture(scope="module")
def model():
    return tiny_model(**STATES)


def far_apart(model, first, second, distance=50.0):
    """Energy and ΔH of two molecules in one system, first with charge +1 and a free spin."""
    numbers = [*first[0], *second[0]]
    shift = np.array([0.0, 0.0, distance])
    positions = np.vstack([first[1], np.array(second[1]) + shift])
    return run(model, numbers, positions, 1, 2)


def test_a_lone_atom_has_the_whole_state_others_a_share_of_it_and_closed_shells_nothing():
    sharing = StateSharing(8, (-1, 0, 1), (1, 2), heads=4, gain=3.0).double()
    x = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    molecule = torch.tensor([0, 0, 1, 1, 1])
    found = sharing(x, MolecularState(torch.tensor([1, 2]), torch.tensor([0, 1]), molecule))
    assert torch.equal(found[:2], torch.zeros(2, 8, dtype=torch.float64))
    single = MolecularState(torch.tensor([2]), torch.tensor([1]), torch.tensor([0]))
    (alone,) = sharing(x[2:3], single)
    part = (found[2:] / (alone * 4 / 3)).detach()  # g a / (1 + g a); a lone atom has a = 1
    assert ((part > 0) & (part < 0.75)).all()
    torch.testing.assert_close((part / (3 * (1 - part))).sum(0), torch.ones(8).double())


def test_what_a_state_costs_is_an_average_over_the_atoms_that_share_it():
    """Atoms with equal features carry an energy that does not depend on how many they are."""
    energy = StateEnergy(6, 8, (0, 1), (1, 2), heads=4).double()
    x = torch.randn(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    molecule = torch.tensor([0, 1, 1, 1, 2])
    state = MolecularState(torch.tensor([1, 1, 0]), torch.tensor([1, 1, 0]), molecule)
    found, share = energy(x.expand(5, 6), state)
    torch.testing.assert_close(found[1:4].sum(), found[0])
    torch.testing.assert_close(share[1:4], torch.full((3,), 1 / 3).double())
    assert float(found[4].detach()) == 0.0  # a neutral closed shell


def test_the_softmax_survives_any_size_of_logits_and_has_two_derivatives():
    molecule = torch.tensor([0, 0, 1])
    huge = torch.tensor([[1e4], [0.0], [-1e4]], dtype=torch.float64)
    torch.testing.assert_close(softmax_over(huge, molecule, 2).squeeze(1), torch.tensor([1.0, 0, 1]).double())
    logits = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: softmax_over(x, molecule, 2), logits)
    assert torch.autograd.gradgradcheck(lambda x: softmax_over(x, molecule, 2), logits)


def test_charge_and_spin_matter_and_follow_rotations(model):
    numbers, positions = FORMAMIDE
    energies = [run(model, *FORMAMIDE, q, m)[0] for q, m in ((0, 1), (1, 2), (-1, 2), (0, 3))]
    assert len({round(e, 6) for e in energies}) == 4
    e, f, _ = run(model, numbers, positions, 1, 2)
    turn = rotation(5)
    e2, f2, _ = run(model, numbers, np.array(positions) @ turn.T, 1, 2)
    assert abs(e2 - e) < 1e-9
    assert relative(f2, f @ turn.T) < 1e-9


def test_shares_can_learn_to_leave_a_distant_molecule_alone():
    model = tiny_model(**STATES)
    alone = run(model, *WATER)[0] + run(model, *FORMAMIDE, 1, 2)[0]
    assert abs(far_apart(model, FORMAMIDE, WATER)[0] - alone) > 1e-2
    model.requires_grad_(False)
    moving = [*model.backbone.state_updates.parameters(), *model.energy_head.state.parameters()]
    for parameter in moving:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(moving, lr=0.03)
    batch = batch_graphs(2 * [graph(model, *FORMAMIDE, 1, 2), graph(model, *WATER)])
    batch.group = torch.tensor([0, 0, 1, 2])  # once together, once each alone
    for _ in range(200):
        optimiser.zero_grad()
        energy = model(batch).energy
        error = energy[:2] - energy[2:]
        error.square().sum().backward()
        optimiser.step()
    assert float(error.detach().abs().sum()) < 1e-3


def test_molecules_of_a_group_answer_as_one_system_far_apart(model):
    both = batch_graphs([graph(model, *FORMAMIDE, 1, 2), graph(model, *WATER)])
    both.group = torch.tensor([0, 0])
    out = model(both, energy=True, hamiltonian=True)
    energy, _, h = far_apart(model, FORMAMIDE, WATER)
    assert float(out.energy.detach().sum()) == pytest.approx(energy, abs=1e-9)
    a = SPD.size(FORMAMIDE[0])
    np.testing.assert_allclose(out.correction[0, :, :a, :a].detach().numpy(), h[:, :a, :a], atol=1e-12)
    b = SPD.size(WATER[0])
    np.testing.assert_allclose(out.correction[1, :, :b, :b].detach().numpy(), h[:, a:, a:], atol=1e-12)


def test_every_second_ion_or_open_shell_of_a_batch_shares_its_state_with_a_closed_shell():
    charge, multiplicity = torch.tensor([0, 1, 0, -1, 0, 0, 0]), torch.tensor([1, 1, 1, 1, 1, 2, 1])
    group = shared_states(charge, multiplicity)
    assert group[0] == group[1]  # the first ion and the first closed shell
    assert group[5] == group[2]  # the third special one and the second closed shell
    assert (group == group[3]).sum() == 1
    assert len(group.unique()) == 5
    assert torch.equal(shared_states(charge[:1], multiplicity[:1]), torch.tensor([0]))


def test_states_of_a_group_must_be_known(model):
    both = batch_graphs([graph(model, *FORMAMIDE, 1, 2), graph(model, *WATER, 1, 2)])
    both.group = torch.tensor([0, 0])
    with pytest.raises(ChargeError, match="charge"):
        model(both)


def test_negative_settings_are_refused():
    for wrong in ({"state_heads": -1}, {"pair_decay_length": -1.0}):
        with pytest.raises(SettingError, match="must be 0 or more"):
            BackboneSettings(**wrong)


def test_blocks_of_two_atoms_fade_exponentially_with_their_distance():
    model = tiny_model(pair_cutoff=40.0, pair_decay_start=3.0, pair_decay_length=1.2)
    sizes = []
    for distance in (6.0, 9.0, 12.0):
        _, _, h = run(model, [8, 6], [[0, 0, 0], [0, 0, distance]])
        sizes.append(abs(h[0, :14, 14:]).max())
    ratio = np.exp(-3.0 / 1.2)
    assert sizes[1] / sizes[0] == pytest.approx(ratio, rel=1.0)
    assert sizes[2] < 0.1 * sizes[1] * 2
    steady = tiny_model(pair_cutoff=40.0, pair_decay_length=0.0)
    _, _, h = run(steady, [8, 6], [[0, 0, 0], [0, 0, 12.0]])
    assert abs(h[0, :14, 14:]).max() > 10 * sizes[2]
