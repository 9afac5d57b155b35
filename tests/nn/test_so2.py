"""SO(2) layers commute with everything that leaves the edge in place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag

from helm_ase.nn.edges import EdgeBuilder
from helm_ase.nn.equivariant import Channels
from helm_ase.nn.harmonics import EdgeRows
from helm_ase.nn.interaction import Message, MessageSettings, gather_messages, rotate_back
from helm_ase.nn.radial import Envelope
from helm_ase.nn.so2 import SO2Linear, join_orders, product, split_by_order
from shared.rotations import wigner

ROWS = [EdgeRows(3, 3), EdgeRows(4, 2), EdgeRows(2, 0)]
CIN, COUT = Channels(5, 3), Channels(4, 2)


def turn(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


TURN, MIRROR = turn(0.83), np.diag([1.0, -1.0, 1.0])
OPERATIONS = {"turn": TURN, "mirror": MIRROR, "turned mirror": TURN @ MIRROR}


@pytest.fixture(autouse=True)
def _fixed_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


def action(rows, operation):
    """Matrices by which natural and unnatural edge-frame rows answer to an operation of O(3)."""
    d = block_diag(*(wigner(l, operation) for l in range(rows.lmax + 1)))
    picked, signs = rows.unnatural()
    natural = d[np.ix_(rows.natural(), rows.natural())]
    unnatural = np.linalg.det(operation) * np.outer(signs, signs) * d[np.ix_(picked, picked)]
    return torch.tensor(natural), torch.tensor(unnatural)


def act(x, rows, channels, operation):
    """Transform features (E, R, [natural | unnatural])."""
    natural, unnatural = action(rows, operation)
    return torch.cat([natural @ x[..., : channels.natural], unnatural @ x[..., channels.natural :]], dim=-1)


def apply_linear(layer, x):
    parts = x.split([layer.cin.natural, layer.cin.unnatural], dim=-1)
    features, extra = layer(*([[part] for part in split_by_order(x, layer.rows)] for x in parts))
    return join_orders(features), extra


def test_a_product_of_parts_is_that_of_the_joined_features():
    x, weight = torch.randn(5, 2, 3, 7, dtype=torch.float64), torch.randn(21, 4, dtype=torch.float64)
    whole = x.flatten(0, 1).flatten(1) @ weight
    more = torch.randn(10, 4, dtype=torch.float64)
    parts = list(x.split([4, 2, 1], dim=3))
    torch.testing.assert_close(product(parts, weight), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(product(parts, weight, more.clone()), whole + more, rtol=0, atol=1e-12)


def test_channels_of_a_class_may_come_in_parts():
    layer = SO2Linear(ROWS[0], CIN, COUT, extra_scalars=3).double()
    x = torch.randn(4, ROWS[0].size, CIN.total, dtype=torch.float64)
    classes = x.split([CIN.natural, CIN.unnatural], dim=-1)
    parts = []
    for whole in classes:
        halves = [split_by_order(half, layer.rows) for half in whole.split([1, whole.shape[2] - 1], dim=2)]
        parts.append([list(some) for some in zip(*halves, strict=True)])
    features, extra = layer(*parts)
    expected, expected_extra = apply_linear(layer, x)
    torch.testing.assert_close(join_orders(features), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(extra, expected_extra, rtol=0, atol=1e-12)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("rows", ROWS)
def test_so2_linear_commutes_with_turns_and_mirrors_that_keep_the_edge(rows, operation):
    layer = SO2Linear(rows, CIN, COUT, extra_scalars=6).double()
    x = torch.randn(7, rows.size, CIN.total, dtype=torch.float64)
    y, extra = apply_linear(layer, x)
    z, extra_z = apply_linear(layer, act(x, rows, CIN, OPERATIONS[operation]))
    torch.testing.assert_close(z, act(y, rows, COUT, OPERATIONS[operation]), rtol=0, atol=1e-10)
    torch.testing.assert_close(extra_z, extra, rtol=0, atol=1e-10)
    assert y.abs().max() > 1e-2


@pytest.mark.parametrize("rows", ROWS[:2])
def test_without_parity_so2_linear_commutes_with_turns_but_not_with_mirrors(rows):
    cin, cout = Channels(5), Channels(4)
    layer = SO2Linear(rows, cin, cout, extra_scalars=2, parity=False).double()
    x = torch.randn(7, rows.size, 5, dtype=torch.float64)
    y, _ = apply_linear(layer, x)
    turned, _ = apply_linear(layer, act(x, rows, cin, TURN))
    torch.testing.assert_close(turned, act(y, rows, cout, TURN), rtol=0, atol=1e-10)
    mirrored, _ = apply_linear(layer, act(x, rows, cin, MIRROR))
    assert (mirrored - act(y, rows, cout, MIRROR)).abs().max() > 0.1


@pytest.mark.parametrize("rows", ROWS)
def test_the_joined_form_of_so2_linear_is_the_same_map(rows):
    layer = SO2Linear(rows, CIN, COUT).double()
    x = torch.randn(7, rows.size, CIN.total, dtype=torch.float64)
    joined = join_orders(layer.forward_joined(split_by_order(x, rows)))
    torch.testing.assert_close(joined, apply_linear(layer, x)[0], rtol=0, atol=1e-12)


def make_message(rows, channels, parity=True):
    builder = EdgeBuilder(rows, channels.unnatural > 0).double()
    vectors = torch.randn(3, 3, dtype=torch.float64)
    pairs = torch.tensor([[0, 0, 1], [1, 2, 2]])
    edges = builder(vectors, pairs, torch.arange(3), Envelope(5.0), torch.float64)
    message = Message(MessageSettings(rows, channels, 6, 8, parity)).double()
    nodes = torch.randn(3, (rows.lmax + 1) ** 2, channels.total, dtype=torch.float64)
    return message, nodes, edges, torch.randn(6, 6, dtype=torch.float64)


def turn_frames(edges, rows, operation):
    natural, unnatural = action(rows, operation)
    return replace(
        edges,
        natural=natural @ edges.natural,
        unnatural=None if edges.unnatural is None else unnatural @ edges.unnatural,
    )


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("rows", ROWS[:2])
def test_messages_turn_with_the_edge_frame_and_mean_the_same_in_the_common_frame(rows, operation):
    message, nodes, edges, scalars = make_message(rows, COUT)
    other = turn_frames(edges, rows, OPERATIONS[operation])
    y, z = message(nodes, edges, scalars), message(nodes, other, scalars)
    assert y.abs().max() > 1e-2
    torch.testing.assert_close(z, act(y, rows, COUT, OPERATIONS[operation]), rtol=0, atol=1e-9)
    torch.testing.assert_close(rotate_back(z, other, COUT), rotate_back(y, edges, COUT), rtol=0, atol=1e-9)


def test_without_parity_a_mirrored_edge_frame_changes_the_message():
    rows, channels = ROWS[0], Channels(6)
    message, nodes, edges, scalars = make_message(rows, channels, parity=False)
    y = rotate_back(message(nodes, edges, scalars), edges, channels)
    for operation, same in ((TURN, True), (MIRROR, False)):
        other = turn_frames(edges, rows, operation)
        z = rotate_back(message(nodes, other, scalars), other, channels)
        assert bool((z - y).abs().max() < 1e-9) is same


def test_the_weight_of_a_message_is_a_factor():
    message, nodes, edges, scalars = make_message(ROWS[0], COUT)
    weight = torch.rand(6, dtype=torch.float64)
    plain = message(nodes, edges, scalars)
    torch.testing.assert_close(
        message(nodes, edges, scalars, weight), plain * weight[:, None, None], rtol=0, atol=1e-12
    )


def test_gathered_messages_are_the_sum_over_senders():
    message, nodes, edges, scalars = make_message(ROWS[0], COUT)
    y = message(nodes, edges, scalars)
    wanted = torch.zeros_like(nodes)
    for e, turned in enumerate(rotate_back(y, edges, COUT)):
        wanted[edges.target[e]] += turned
    torch.testing.assert_close(gather_messages(y, edges, COUT, 3), wanted, rtol=0, atol=1e-12)
