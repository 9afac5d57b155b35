"""What the model computes, refuses and leaves alone."""

import numpy as np
import pytest
import torch

from helm_ase.errors import ChargeError, ElementError
from helm_ase.nn import HELM, HELMSettings
from helm_ase.representation.graph import batch_graphs
from shared.deviations import relative
from shared.geometries import ETHENE, FORMAMIDE, WATER
from shared.rotations import ao_rotation, rotation
from shared.small_models import SPD, TINY, graph, run, tiny_model

STATES = {"charges": (-1, 0, 1), "multiplicities": (1, 2, 3)}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def ionic():
    return tiny_model(**STATES)


# --- precision and ablations --------------------------------------------------------------------------


def test_padding_every_element_with_all_shells_changes_nothing(model):
    padded = tiny_model(pad_shells=True)
    assert padded.state_dict().keys() == model.state_dict().keys()
    padded.load_state_dict(model.state_dict())
    for x, y in zip(run(padded, *FORMAMIDE), run(model, *FORMAMIDE), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-13)


@pytest.mark.parametrize("molecule", [WATER, FORMAMIDE, ETHENE], ids=["water", "formamide", "ethene"])
def test_single_precision_agrees_with_double_to_1e_4(molecule):
    single, double = tiny_model(dtype=torch.float32), tiny_model(dtype=torch.float32).cast(torch.float64)
    (e, f, h), (e2, f2, h2) = run(single, *molecule), run(double, *molecule)
    assert max(abs(e / e2 - 1), relative(f, f2), relative(h, h2)) <= 1e-4
    assert relative(h, h2) > 0


def test_energies_and_forces_are_double_precision_whatever_the_network_is():
    single = tiny_model(dtype=torch.float32)
    out = single(graph(single, *WATER), forces=True, hamiltonian=True)
    assert out.energy.dtype == out.forces.dtype == torch.float64
    assert out.correction.dtype == single.dtype == torch.float32


def test_cast_leaves_energy_references_in_double_precision_to_the_last_bit():
    model = tiny_model()
    reference, scale = model.energy_reference.clone(), model.energy_scale.clone()
    assert model.cast(torch.float32) is model
    assert model.dtype == torch.float32
    assert torch.equal(model.energy_reference, reference)
    assert torch.equal(model.energy_scale, scale)
    assert model.energy_reference.dtype == model.energy_scale.dtype == torch.float64


def test_a_model_cast_to_single_and_back_is_still_equivariant_to_double_precision():
    model = tiny_model(dtype=torch.float32).cast(torch.float64)
    r, positions = rotation(4), np.array(WATER[1])
    d = ao_rotation(SPD, WATER[0], r)
    e, _, h = run(model, WATER[0], positions)
    e2, _, h2 = run(model, WATER[0], positions @ r.T)
    assert max(abs(e2 / e - 1), relative(h2, d @ h @ d.T)) <= 1e-9


def test_energy_references_are_added_per_atom_and_in_full_precision(model):
    before = run(model, *WATER)[0]
    shifted = tiny_model()
    shifted.energy_reference += torch.tensor([-13.6, 1.0, 2.0, -2040.0], dtype=torch.float64)  # H, C, N, O
    assert abs(run(shifted, *WATER)[0] - before - (-2040.0 - 2 * 13.6)) <= 1e-11


# --- charges and multiplicities -----------------------------------------------------------------------


def test_a_closed_shell_model_gives_one_matrix_and_an_open_shell_model_two(model, ionic):
    assert run(model, *WATER)[2].shape[0] == 1
    h = run(ionic, *WATER, multiplicity=3)[2]
    assert h.shape[0] == 2
    assert relative(h[0], h[1]) > 1e-3


def test_alpha_and_beta_of_a_singlet_are_one(ionic):
    h = run(ionic, *WATER)[2]
    assert np.array_equal(h[0], h[1])


def test_one_open_shell_multiplicity_alone_already_needs_two_matrices():
    model = tiny_model(multiplicities=(2,))
    assert run(model, *WATER, multiplicity=2)[2].shape[0] == 2


@pytest.mark.parametrize(("charge", "multiplicity"), [(1, 1), (-1, 1), (0, 2), (0, 3), (1, 2)])
def test_energy_and_hamiltonian_depend_on_charge_and_multiplicity(ionic, charge, multiplicity):
    e, f, h = run(ionic, *WATER)
    e2, f2, h2 = run(ionic, *WATER, charge, multiplicity)
    assert abs(e2 - e) > 1e-4
    assert relative(f2, f) > 1e-4
    assert relative(h2, h) > 1e-4


def test_molecules_of_different_charge_share_a_batch(ionic):
    states = [(1, 2), (0, 1), (-1, 2), (0, 3)]
    out = ionic(batch_graphs([graph(ionic, *WATER, *s) for s in states]), hamiltonian=True)
    for k, state in enumerate(states):
        e, _, h = run(ionic, *WATER, *state)
        assert abs(float(out.energy[k].detach()) - e) <= 1e-12 * abs(e)
        np.testing.assert_allclose(out.correction[k].detach().numpy(), h, rtol=0, atol=1e-12)


def test_states_the_model_has_not_seen_are_refused_by_name(model, ionic):
    with pytest.raises(ChargeError, match=r"charge \[-1, 0, 1\], not \[2\]"):
        run(ionic, *WATER, charge=2)
    with pytest.raises(ChargeError, match=r"multiplicity \[1, 2, 3\], not \[4\]"):
        run(ionic, *WATER, multiplicity=4)
    with pytest.raises(ChargeError, match="charge"):
        run(model, *WATER, charge=1)
    with pytest.raises(ChargeError, match="multiplicity"):
        run(model, *WATER, multiplicity=2)
    with pytest.raises(ChargeError, match="charge"):
        ionic(batch_graphs([graph(ionic, *WATER), graph(ionic, *WATER, 5)]))


def test_an_element_the_model_has_not_seen_is_refused_by_number(model):
    with pytest.raises(ElementError, match="atomic number 16"):
        run(model, [16, 1, 1], WATER[1])


# --- work that is not done ----------------------------------------------------------------------------


def refuse(*_args, **_kwargs):
    raise AssertionError("must not be called")


def test_energy_and_forces_never_touch_the_edge_track_or_the_hamiltonian_heads(monkeypatch):
    model = tiny_model()
    wanted = run(model, *FORMAMIDE)
    monkeypatch.setattr(model.backbone, "edge_track", refuse)
    monkeypatch.setattr(model.backbone, "pair_edges", refuse)
    for part in [*model.hamiltonian_heads, *model.backbone.edge_updates]:
        monkeypatch.setattr(part, "forward", refuse)
    out = model(graph(model, *FORMAMIDE), energy=True, forces=True)
    assert out.correction is None
    assert float(out.energy.detach()) == wanted[0]
    np.testing.assert_array_equal(out.forces.numpy(), wanted[1])
    with pytest.raises(AssertionError, match="must not be called"):
        model(graph(model, *FORMAMIDE), hamiltonian=True)


def test_the_hamiltonian_alone_never_touches_the_energy_head(monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(model.energy_head, "forward", refuse)
    out = model(graph(model, *WATER), energy=False, hamiltonian=True)
    assert out.energy is None
    assert out.forces is None
    np.testing.assert_array_equal(out.correction[0].detach().numpy(), run(tiny_model(), *WATER)[2])


def test_forces_are_there_without_gradients_being_enabled(model):
    with torch.no_grad():
        out = model(graph(model, *WATER), forces=True)
        assert not torch.is_grad_enabled()
    np.testing.assert_array_equal(out.forces.numpy(), run(model, *WATER)[1])


# --- the world outside --------------------------------------------------------------------------------


def global_state():
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "interop threads": torch.get_num_interop_threads(),
        "grad mode": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "anomaly detection": torch.is_anomaly_enabled(),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grad", [True, False])
def test_building_and_calling_a_model_leaves_the_global_state_of_torch_alone(dtype, grad):
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(grad):
        before = global_state()
        model = HELM(SPD, HELMSettings(TINY)).cast(dtype)
        assert global_state() == before
        random, numpy_random = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        model(graph(model, *WATER), forces=True, hamiltonian=True)
        assert global_state() == before
        assert torch.equal(torch.get_rng_state(), random)
        assert np.array_equal(np.random.get_state()[1], numpy_random)  # noqa: NPY002


def test_a_call_changes_neither_the_graph_nor_the_weights(model):
    g = graph(model, *WATER)
    before = {k: v.clone() for k, v in g.to_dict().items()}
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    model(g, forces=True, hamiltonian=True)
    assert g.to_dict().keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in g.to_dict().items())
    assert not g.pos.requires_grad
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_same_seed_gives_the_same_model_and_another_seed_another():
    assert run(tiny_model(seed=1), *WATER)[0] == run(tiny_model(seed=1), *WATER)[0]
    assert run(tiny_model(seed=1), *WATER)[0] != run(tiny_model(seed=2), *WATER)[0]


def test_two_calls_give_the_same_bits(model):
    for x, y in zip(run(model, *FORMAMIDE), run(model, *FORMAMIDE), strict=True):
        np.testing.assert_array_equal(x, y)


def test_every_weight_receives_a_gradient_except_those_that_read_channels_still_empty():
    """Atoms start without unnatural channels, so that the first message has none to read."""
    model = tiny_model(**STATES).train()
    out = model(graph(model, *FORMAMIDE, 1, 2), forces=True, hamiltonian=True)
    (out.energy.sum() + out.forces.square().sum() + out.correction.square().sum()).backward()
    without = {n for n, p in model.named_parameters() if p.numel() and (p.grad is None or not p.grad.any())}
    first = "backbone.node_updates.0.message."
    idle = {"mix.unnatural_0", "out.unnatural_0", "mix.unnatural_m.0", "mix.unnatural_m.1"}
    assert without == {first + name for name in idle}
