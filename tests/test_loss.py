import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_walkthrough import SGD, cross_entropy, find_nonfinite, log_softmax, mlp, nll_loss
from mnist_walkthrough.net import max_difference

LARGE = torch.tensor([[1e4, 0.0, -1e4], [-1e30, 1e30, 0.0], [88.0, 89.0, 90.0]])


@pytest.mark.parametrize(
    "z", [torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), LARGE]
)
def test_equals_torchs_in_value_and_gradient(z):
    z = z.double().requires_grad_()
    y = torch.arange(len(z)) % 3
    torch.testing.assert_close(log_softmax(z), F.log_softmax(z, 1), rtol=1e-14, atol=0)
    torch.testing.assert_close(nll_loss(z, y), F.nll_loss(z, y), rtol=1e-14, atol=0)
    ours, library = cross_entropy(z, y), F.cross_entropy(z, y)
    torch.testing.assert_close(ours, library, rtol=1e-14, atol=0)
    grads = [torch.autograd.grad(loss, z)[0] for loss in (ours, library)]
    torch.testing.assert_close(*grads, rtol=1e-13, atol=1e-17)


@pytest.mark.parametrize("n_classes", [2, 10, 1000])
def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(n_classes):
    loss = cross_entropy(torch.full((4, n_classes), 7.0), torch.arange(4) % n_classes)
    assert loss.item() == pytest.approx(math.log(n_classes), rel=1e-6)


def test_softmax_sums_to_one_and_does_not_see_shifts():
    z = torch.randn(20, 10, dtype=torch.float64)
    torch.testing.assert_close(log_softmax(z).exp().sum(1), torch.ones(20, dtype=torch.float64))
    torch.testing.assert_close(log_softmax(z + 300), log_softmax(z), rtol=0, atol=1e-12)


@pytest.mark.parametrize("target", [-1, 3, 100, -100])
def test_a_target_that_is_no_class_is_named(target):
    with pytest.raises(ValueError, match=rf"target\[1\] is {target}; the classes are 0 to 2"):
        cross_entropy(torch.zeros(3, 3), torch.tensor([0, target, 3]))


def naive(z, y):
    return -(z.exp() / z.exp().sum(1, keepdim=True)).log().gather(1, y[:, None]).mean()


def batches(n=3, x=None):
    g = torch.Generator().manual_seed(0)
    return [
        (torch.rand(8, 4, generator=g) if x is None else x, torch.arange(8) % 2) for _ in range(n)
    ]


def detect(net, loss_fn=F.cross_entropy, lr=0.1, data=None):
    return find_nonfinite(net, loss_fn, SGD(net.parameters(), lr), data or batches())


def test_nothing_is_found_in_a_sound_training():
    assert detect(mlp(4, 3, 2)) is None


def test_it_trains_on_the_way_as_any_loop_does():
    watched, other = (mlp(4, 3, 2, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert detect(watched) is None
    optimizer = torch.optim.SGD(other.parameters(), 0.1)
    for xb, yb in batches():
        optimizer.zero_grad()
        F.cross_entropy(other(xb), yb).backward()
        optimizer.step()
    assert max_difference(watched, other) == 0


def test_finds_an_overflow_in_the_loss():
    net = mlp(4, 3, 2)
    with torch.no_grad():
        net[2].bias[1] = 100
    found = detect(net, naive)
    assert (found.step, found.layer, found.operation, found.element) == (0, "loss", "exp", (0, 1))
    assert str(found) == "step 0, loss: exp gave inf at [0, 1]"


def test_finds_an_underflow_in_the_loss():
    net = mlp(4, 3, 2)
    with torch.no_grad():
        net[2].bias[1] = -200
    found = detect(net, naive)
    assert (found.layer, found.operation, found.value) == ("loss", "log", -math.inf)
    assert type(found.value) is float


@pytest.mark.parametrize(
    "make", [mlp, lambda *s: nn.Sequential(nn.Linear(*s[:2]), nn.ReLU(), nn.Linear(*s[1:]))]
)
def test_finds_a_layer(make):
    net = make(4, 3, 2)
    with torch.no_grad():
        net[2].weight[1, 2] = math.nan
    found = detect(net)
    assert (found.step, found.layer) == (0, "layer 2")


def test_finds_an_input_row_by_the_layer_that_sees_it_first():
    x = torch.rand(8, 4)
    x[5, 1] = math.inf
    found = detect(mlp(4, 3, 2), data=batches(x=x))
    assert (found.layer, found.element[0]) == ("layer 0", 5)


def test_finds_a_gradient():
    "The square root at 0 is finite, its slope is not."
    found = detect(mlp(4, 3, 2), lambda z, y: (z * 0).sqrt().sum())
    assert (found.layer, found.operation) == ("gradient of 0.weight", "backward")


def test_finds_the_gradient_of_any_parameter():
    net = mlp(4, 3, 2)
    found = detect(net, lambda z, y: z.sum() + (net[2].bias * 0).sqrt().sum())
    assert found.layer == "gradient of 2.bias"


def test_a_frozen_layer_has_no_gradient_to_look_at():
    net = mlp(4, 3, 2)
    net[0].requires_grad_(False)
    assert detect(net) is None


def test_finds_what_a_model_does_before_its_first_layer():
    class Divided(nn.Sequential):
        def forward(self, x):
            return super().forward(x / 0)

    assert detect(Divided(nn.Linear(4, 2))).operation == "div"


def test_finds_the_step_at_which_a_large_rate_breaks_the_net():
    found = detect(mlp(4, 3, 2), lr=1e38)
    assert found.step > 0


def test_leaves_no_hooks_behind():
    net = mlp(4, 3, 2)
    detect(net)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("shape", [(2,), (1,), (3, 1)])
def test_targets_that_do_not_fit_the_rows_are_refused(shape):
    with pytest.raises(ValueError, match="a class for each row"):
        cross_entropy(torch.zeros(3, 4), torch.zeros(shape, dtype=torch.int64))


def test_old_gradients_are_not_part_of_the_first_step():
    net, fresh = (
        mlp(4, 3, 2, generator=torch.Generator()),
        mlp(4, 3, 2, generator=torch.Generator()),
    )
    cross_entropy(net(torch.rand(8, 4)), torch.zeros(8, dtype=torch.int64)).backward()
    for model in (net, fresh):
        assert detect(model) is None
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), fresh.parameters(), strict=True))
