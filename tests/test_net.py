import copy
import math

import pytest
import torch
from torch import nn

from mnist_walkthrough import Linear, ReLU, Sequential, mlp
from mnist_walkthrough.net import (
    init_default_,
    init_he_,
    init_unscaled_,
    init_zeros_,
    max_difference,
)


@pytest.mark.parametrize(("n_in", "n_out"), [(784, 30), (30, 10), (1, 1), (3, 50)])
def test_linear_begins_with_the_very_weights_of_torchs(n_in, n_out):
    for seed in range(5):
        torch.manual_seed(seed)
        library = nn.Linear(n_in, n_out)
        torch.manual_seed(seed)
        ours = Linear(n_in, n_out)
        given = Linear(n_in, n_out, generator=torch.Generator().manual_seed(seed))
        assert max_difference(ours, library) == 0
        assert max_difference(given, library) == 0


def test_a_given_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    mlp(4, 3, 2, generator=torch.Generator())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(5, 7), (7,), (2, 3, 7)])
def test_linear_equals_torchs_for_any_leading_axes(shape):
    library, ours = nn.Linear(7, 4).double(), Linear(7, 4, dtype=torch.float64)
    ours.load_state_dict(library.state_dict())
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(ours(x), library(x), rtol=0, atol=1e-15)


def test_relu_is_torchs_everywhere():
    values = [-math.inf, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, math.inf, math.nan]
    x = [torch.tensor(values, requires_grad=True) for _ in range(2)]
    y = ReLU()(x[0]), torch.relu(x[1])
    torch.testing.assert_close(*y, equal_nan=True, rtol=0, atol=0)
    for t in y:
        t[:-1].clamp(max=1e30).sum().backward()
    assert torch.equal(x[0].grad[:7], x[1].grad[:7])


def test_names_of_parameters_are_torchs():
    library = nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10))
    ours = mlp(784, 30, 10)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in library.named_parameters()]
    library.load_state_dict(ours.state_dict())
    assert max_difference(ours, library) == 0


def test_sequential_runs_a_layer_as_often_as_it_is_named():
    shift = Linear(1, 1, init_=init_zeros_)
    with torch.no_grad():
        shift.weight.fill_(1)
        shift.bias.fill_(1)
    net = Sequential(shift, shift, shift)
    assert net(torch.tensor([[0.0]])).item() == 3
    assert net[2] is shift


def test_copies_are_independent():
    net = mlp(4, 3, 2)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight.zero_()
    assert max_difference(net, other) > 0


@pytest.mark.parametrize(
    ("init_", "variance"),
    [
        (init_default_, 1 / (3 * 400)),
        (init_he_, 2 / 400),
        (init_unscaled_, 1.0),
        (init_zeros_, 0.0),
    ],
)
def test_variance_of_each_start(init_, variance):
    layer = Linear(400, 500, init_=init_, generator=torch.Generator().manual_seed(0))
    assert layer.weight.var().item() == pytest.approx(variance, rel=0.01)
    assert layer.weight.mean().abs().item() <= 4 * math.sqrt(variance / 200_000)


@pytest.mark.parametrize(
    ("init_", "deviation"),
    [(init_default_, 1 / math.sqrt(3 * 40)), (init_he_, 0), (init_unscaled_, 1), (init_zeros_, 0)],
)
def test_deviation_of_the_biases_of_each_start(init_, deviation):
    bias = torch.full((5000,), math.nan)
    init_(torch.empty(5000, 40), bias, torch.Generator().manual_seed(0))
    assert bias.std().item() == pytest.approx(deviation, rel=0.03)
    assert bias.mean().abs().item() <= 4 * deviation / math.sqrt(5000)


def test_device_and_dtype_reach_the_parameters():
    layer = Linear(3, 2, device="meta", dtype=torch.float64)
    assert {(p.dtype, p.device.type) for p in layer.parameters()} == {(torch.float64, "meta")}


def test_max_difference_finds_the_largest_anywhere():
    a = mlp(4, 3, 2)
    b = copy.deepcopy(a)
    with torch.no_grad():
        b[2].bias[1] += 0.25
        b[0].weight[0, 0] -= 0.125
    assert max_difference(a, b) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="different shapes"):
        max_difference(a, mlp(4, 3, 3, 2))


def test_max_difference_sees_nan():
    a = mlp(4, 3, 2)
    b = copy.deepcopy(a)
    with torch.no_grad():
        b[2].weight[0, 0] = math.nan
    assert not max_difference(a, b) < 1


@pytest.mark.parametrize("sizes", [(), (784,), ([784, 30, 10],), (784, 0, 10)])
def test_mlp_refuses_sizes_that_make_no_net(sizes):
    with pytest.raises(ValueError, match=r"two or more sizes|sizes\[1\] is a whole number"):
        mlp(*sizes)
