"Convolution, pooling and batch norm: equal to torch's for many shapes, in value, gradient and state, and over whole runs."

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_walkthrough import SGD, DataLoader, Linear, ReLU, Sequential, cross_entropy
from mnist_walkthrough.convnet import (
    BatchNorm2d,
    Conv2d,
    Flatten,
    MaxPool2d,
    out_size,
    unfold,
)
from mnist_walkthrough.loader import train_loop
from mnist_walkthrough.net import init_he_, max_difference

BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-5}  # of the largest value
OWN = SimpleNamespace(
    Sequential=Sequential,
    Conv2d=Conv2d,
    BatchNorm2d=BatchNorm2d,
    ReLU=ReLU,
    MaxPool2d=MaxPool2d,
    Flatten=Flatten,
    Linear=Linear,
)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def close(ours, theirs, at_least=0):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    scale = max(at_least, theirs.abs().max()) if theirs.numel() else 0
    assert ((ours - theirs).abs() <= BOUNDS[ours.dtype] * scale).all()


def agrees(ours, theirs, x, at_least=0):
    "Value, gradients by the input and by each parameter, and the buffers afterwards."
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    a, b = ours(inputs[0]), theirs(inputs[1])
    close(a, b)
    grad = random(*b.shape, seed=1, dtype=b.dtype)
    a.backward(grad)
    b.backward(grad)
    close(inputs[0].grad, inputs[1].grad, at_least)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for key, value in theirs.state_dict().items():
        if value.is_floating_point():
            close(ours.state_dict()[key], value)
        else:
            assert torch.equal(ours.state_dict()[key], value)


WINDOWS = [(1, 1, 0), (3, 1, 1), (5, 2, 2), (2, 2, 0), (2, 3, 1), (4, 3, 3), (6, 1, 0)]


@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (1, 1, 6, 6), (0, 2, 6, 8)])
@pytest.mark.parametrize(("k", "s", "p"), WINDOWS)
def test_unfold_is_torchs_bit_for_bit(shape, k, s, p):
    x = random(*shape)
    before = x.clone()
    assert torch.equal(unfold(x, k, s, p), F.unfold(x, k, stride=s, padding=p))
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("channels", [(1, 1), (1, 8), (3, 1), (4, 5)])
@pytest.mark.parametrize(("k", "s", "p"), WINDOWS)
def test_conv(k, s, p, channels, dtype):
    ours = Conv2d(*channels, k, s, p).to(dtype)
    theirs = nn.Conv2d(*channels, k, s, p).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    agrees(ours, theirs, random(3, channels[0], 11, 8, dtype=dtype))


def test_conv_of_no_image():
    assert Conv2d(2, 3, 3)(torch.zeros(0, 2, 5, 6)).shape == (0, 3, 3, 4)


@pytest.mark.parametrize("sizes", [(1, 8, 5), (8, 16, 3), (2, 3, 1)])
def test_conv_begins_with_the_very_weights_of_torchs(sizes):
    for seed in range(3):
        torch.manual_seed(seed)
        library = nn.Conv2d(*sizes)
        torch.manual_seed(seed)
        ours = Conv2d(*sizes)
        given = Conv2d(*sizes, generator=torch.Generator().manual_seed(seed))
        assert max_difference(ours, library) == 0
        assert max_difference(given, library) == 0


def test_a_start_of_one_s_own_knows_the_number_of_inputs():
    layer = Conv2d(20, 50, 5, init_=init_he_, generator=torch.Generator().manual_seed(0))
    assert layer.weight.var().item() == pytest.approx(2 / 500, rel=0.03)
    assert not layer.bias.any()


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(("k", "s"), [(2, None), (3, 2), (2, 3), (1, 1), (3, 1)])
def test_max_pool(k, s, dtype):
    x = random(3, 4, 9, 7, dtype=dtype)
    agrees(MaxPool2d(k, s), nn.MaxPool2d(k, s), x)
    agrees(MaxPool2d(k, s), nn.MaxPool2d(k, s), x.relu())  # many ties
    agrees(MaxPool2d(k, s), nn.MaxPool2d(k, s), x.round())


def test_max_pool_passes_nan_on():
    x = torch.tensor([[[[1.0, float("nan")], [2.0, 3.0]]]])
    assert MaxPool2d(2)(x).isnan().all()


def trained(dtype, **options):
    "A batch norm of each kind with weights of its own."
    ours, theirs = BatchNorm2d(4, **options), nn.BatchNorm2d(4, **options)
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.copy_(torch.tensor([0.5, 1.0, -2.0, 3.0]))
            q.copy_(p)
    return ours.to(dtype), theirs.to(dtype)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("options", [{}, {"eps": 0.5}, {"momentum": 0.3}])
@pytest.mark.parametrize("shape", [(20, 4, 3, 5), (2, 4, 1, 1), (1, 4, 2, 1)])
def test_batch_norm_in_both_modes(shape, options, dtype):
    at_least = 1  # of two values the gradient is nearly 0, a difference of numbers of that size
    ours, theirs = trained(dtype, **options)
    for seed in range(3):
        agrees(ours, theirs, 3 * random(*shape, seed=seed + 5, dtype=dtype) + 2, at_least)
    agrees(ours.eval(), theirs.eval(), random(*shape, seed=9, dtype=dtype))
    agrees(ours, theirs, random(1, 4, 1, 1, seed=9, dtype=dtype))
    agrees(ours.train(), theirs.train(), random(*shape, seed=10, dtype=dtype), at_least)


def test_one_value_has_no_variance():
    layer = BatchNorm2d(4)
    with pytest.raises(ValueError, match=r"one value has no variance.*\[1, 4, 1, 1\]"):
        layer(torch.ones(1, 4, 1, 1))
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize(
    "sizes", [(5, 6), (5, 3, 0), (5, 3, 1, -1), (0, 1), (5, 0)], ids=lambda s: str(s)
)
def test_a_window_without_a_place_is_refused(sizes):
    with pytest.raises(ValueError, match=f"no place for a window of {sizes[1]} on {sizes[0]} pix"):
        out_size(*sizes)
    if sizes[0]:
        with pytest.raises(ValueError, match="no place"):
            unfold(torch.zeros(1, 1, sizes[0], 28), *sizes[1:])


def test_out_size_is_torchs():
    for size, k, s, p in ((28, 5, 2, 2), (28, 3, 1, 0), (7, 2, 2, 0), (9, 4, 3, 1)):
        assert (
            out_size(size, k, s, p) == nn.Conv2d(1, 1, k, s, p)(torch.zeros(1, 1, 9, size)).shape[3]
        )


def net(parts, dtype):
    torch.manual_seed(0)
    return parts.Sequential(
        parts.Conv2d(1, 4, 3, stride=2, padding=1),
        parts.BatchNorm2d(4),
        parts.ReLU(),
        parts.MaxPool2d(2),
        parts.Conv2d(4, 6, 2),
        parts.BatchNorm2d(6),
        parts.ReLU(),
        parts.Flatten(),
        parts.Linear(24, 10),
    ).to(dtype)


def test_a_whole_run():
    nets = [net(parts, torch.float64) for parts in (OWN, nn)]
    x, y = random(150, 1, 12, 12), torch.arange(150) % 10
    for each in nets:
        order = torch.Generator().manual_seed(0)
        batches = DataLoader((x, y), 40, shuffle=True, generator=order)
        train_loop(each, batches, SGD(each.parameters(), lr=0.1), cross_entropy, 20)
    close(nets[0].state_dict()["5.running_var"], nets[1].state_dict()["5.running_var"])
    assert max_difference(*nets) < 1e-12
    assert max_difference(nets[0], net(OWN, torch.float64)) > 0.01


def test_weights_can_be_exchanged():
    ours, theirs = net(OWN, torch.float32), net(nn, torch.float32)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())


def slipped_unfold(x, kernel_size, stride=1, padding=0):
    "Pixel by pixel, all channels of a pixel together."
    columns = unfold(x, kernel_size, stride, padding)
    n, k, places = columns.shape
    return columns.view(n, x.shape[1], -1, places).transpose(1, 2).reshape(n, k, places)


def test_these_tests_see_what_accuracy_does_not(monkeypatch):
    monkeypatch.setattr("mnist_walkthrough.convnet.unfold", slipped_unfold)
    test_conv(3, 1, 1, (1, 8), torch.float64)  # with one channel there is no order to get wrong
    with pytest.raises(AssertionError):
        test_conv(3, 1, 1, (4, 5), torch.float64)
