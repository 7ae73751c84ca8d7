"The backward pass by hand and the small autograd: equal to torch's for many shapes, and over whole runs."

import inspect
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_walkthrough import SGD, DataLoader, accuracy, cross_entropy, gradients, mlp
from mnist_walkthrough.gradients import (
    HandLearner,
    Node,
    backward,
    central_difference,
    cross_entropy_backward,
    exp,
    forward_backward,
    linear_backward,
    log,
    pick,
    relu,
    relu_backward,
    topological_order,
    total,
    unbroadcast,
)
from mnist_walkthrough.learner import Learner
from mnist_walkthrough.loss import log_softmax
from mnist_walkthrough.net import max_difference

BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-6}  # of the largest value


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def close(ours, theirs):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert (ours - theirs).abs().max() <= BOUNDS[ours.dtype] * theirs.abs().max()


def torchs(function, *inputs, grad):
    inputs = [t.clone().requires_grad_() for t in inputs]
    return torch.autograd.grad(function(*inputs), inputs, grad)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(1, 1, 1), (5, 3, 2), (256, 784, 30)])
def test_linear(n, n_in, n_out, dtype):
    x, w, b = (random(*s, dtype=dtype) for s in ((n, n_in), (n_out, n_in), (n_out,)))
    grad = random(n, n_out, seed=1, dtype=dtype)
    theirs = torchs(F.linear, x, w, b, grad=grad)
    for ours, other in zip(linear_backward(grad, x, w), theirs, strict=True):
        close(ours, other)
    assert linear_backward(grad, x, w, by_x=False)[0] is None


def test_relu_has_gradient_0_at_0_and_1_where_it_is_nan():
    x = torch.tensor([-1.0, 0.0, -0.0, 2.0, float("nan")])
    grad = torch.tensor([1.0, 2.0, float("inf"), 3.0, 4.0])
    (theirs,) = torchs(torch.relu, x, grad=grad)
    assert torch.equal(relu_backward(grad, x), theirs)
    assert relu_backward(grad, x).tolist() == [0, 0, 0, 3, 4]


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("scale", [1, 1000])
def test_cross_entropy(scale, dtype):
    z, y = scale * random(7, 4, dtype=dtype), torch.tensor([0, 1, 2, 3, 0, 0, 3])
    (theirs,) = torchs(lambda z: F.cross_entropy(z, y), z, grad=torch.ones((), dtype=dtype))
    log_p = log_softmax(z)
    before = log_p.clone()
    close(cross_entropy_backward(log_p, y), theirs)
    assert torch.equal(log_p, before)


def test_central_difference_of_a_cubic_is_off_by_h_squared():
    x = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    off = central_difference(lambda x: (x**3).sum(), x, 0.01) - 3 * x**2
    torch.testing.assert_close(off, torch.full_like(x, 1e-4), rtol=0, atol=1e-9)


NETS = {
    "ours": lambda: mlp(6, 5, 4),
    "deep": lambda: mlp(6, 5, 7, 3, 4),
    "flat": lambda: mlp(6, 4),
    "torch's": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)),
    "without ReLU": lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)),
}


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_a_net_s_gradients_and_that_they_add_up(net):
    torch.manual_seed(0)
    a = net().double()
    b = net().double()
    b.load_state_dict(a.state_dict())
    for seed in range(2):
        x, y = random(9, 6, seed=seed), torch.arange(9) % 4
        loss = cross_entropy(b(x), y)
        loss.backward()
        close(forward_backward(a, x, y), loss.detach())
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            close(p.grad, q.grad)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_nobody_computes_the_gradient_by_the_pixels(net, monkeypatch):
    asked = []

    def noted(grad, x, weight, by_x=True):
        asked.append(by_x)
        return linear_backward(grad, x, weight, by_x)

    monkeypatch.setattr(gradients, "linear_backward", noted)
    forward_backward(net(), random(9, 6).float(), torch.arange(9) % 4)
    assert asked == [True] * (len(asked) - 1) + [False]


def test_a_layer_that_is_used_twice():
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(6, 5), relu, nn.Linear(5, 5), relu, nn.Linear(5, 4)).double()
    x, y = random(9, 6), torch.arange(9) % 4
    cross_entropy(net(x), y).backward()
    theirs = [p.grad for p in net.parameters()]
    net.zero_grad()
    forward_backward(net, x, y)
    for p, grad in zip(net.parameters(), theirs, strict=True):
        close(p.grad, grad)


def test_a_frozen_parameter_and_a_layer_without_bias():
    net = nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 4)).double()
    net[2].weight.requires_grad_(False)
    x, y = random(9, 6), torch.arange(9) % 4
    cross_entropy(net(x), y).backward()
    theirs = net[0].weight.grad
    net.zero_grad()
    forward_backward(net, x, y)
    close(net[0].weight.grad, theirs)
    assert net[2].weight.grad is None


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)), "no rule for Tanh"),
        (nn.Linear(6, 4), "Sequential only, not Linear"),
    ],
)
def test_another_model_is_named_before_anything_is_written(net, said):
    with pytest.raises(TypeError, match=said):
        forward_backward(net, random(3, 6).float(), torch.tensor([0, 1, 2]))
    assert all(p.grad is None for p in net.parameters())


def test_targets_that_are_no_class():
    for target in ([0, 4], [0, -1]):
        with pytest.raises(ValueError, match="the classes are 0 to 3"):
            cross_entropy_backward(log_softmax(random(2, 4)), torch.tensor(target))


@pytest.mark.parametrize(
    ("x", "h"), [(torch.tensor([1, 2]), 1e-3), (torch.ones(2), 0.0), (torch.ones(2), math.inf)]
)
def test_differences_need_a_step_and_a_float(x, h):
    with pytest.raises(ValueError, match="need a finite h above 0 and a float x"):
        central_difference(torch.sum, x, h)


def test_another_loss_is_refused_by_hand():
    net = mlp(20, 8, 10)
    learner = HandLearner(
        [(random(3, 20).float(), torch.arange(3))], [], net, SGD([net[0].bias], 1), F.nll_loss
    )
    with pytest.raises(ValueError, match="cross_entropy only"):
        learner.fit(1, progress=False)


def test_a_whole_run_of_the_learner_by_hand():
    x, y = random(300, 20), torch.arange(300) % 10

    def trained(learner):
        net = mlp(20, 8, 10, generator=torch.Generator().manual_seed(0)).double()
        order = torch.Generator().manual_seed(0)
        dl = DataLoader((x, y), 64, shuffle=True, generator=order)
        made = learner(dl, [(x, y)], net, SGD(net.parameters(), 0.1), cross_entropy, [accuracy])
        made.fit(20, progress=False)
        return made

    ours, theirs = trained(HandLearner), trained(Learner)
    assert max_difference(ours.model, theirs.model) <= 1e-14
    assert ours.history[-1]["train_loss"] == pytest.approx(theirs.history[-1]["train_loss"])
    assert ours.history[-1]["accuracy"] == theirs.history[-1]["accuracy"]


def test_the_learner_by_hand_calls_no_autograd(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "backward", None)
    x, y = random(30, 20, dtype=torch.float32), torch.arange(30) % 10
    net = mlp(20, 8, 10)
    learner = HandLearner([(x, y)], [(x, y)], net, SGD(net.parameters(), 0.1), cross_entropy)
    learner.fit(2, progress=False)
    assert learner.history[1]["train_loss"] < learner.history[0]["train_loss"]


# the small autograd

Y = torch.tensor([2, 0, 1, 2])
BINARY = {
    "add": (lambda a, b: a + b, lambda a, b: a + b),
    "multiply": (lambda a, b: a * b, lambda a, b: a * b),
    "again and again": (lambda a, b: a + b + a * a * b + a, lambda a, b: a + b + a * a * b + a),
}
UNARY = {
    "transpose": (lambda a: a.T, lambda a: a.T),
    "relu": (relu, torch.relu),
    "exp": (exp, torch.exp),
    "log": (lambda a: log(exp(a)), lambda a: a.exp().log()),
    "total of rows": (lambda a: total(a, (1,)), lambda a: a.sum(1, keepdim=True)),
    "total of all": (lambda a: total(a, (0, 1)), lambda a: a.sum().view(1, 1)),
    "pick": (lambda a: pick(a, Y), lambda a: a.gather(1, Y[:, None])),
    "matrix product": (lambda a: a.T @ a, lambda a: a.T @ a),
}


def agrees(ours, theirs, *inputs):
    "Value and gradients, for a random gradient from above."
    nodes = [Node(t) for t in inputs]
    out = ours(*nodes)
    grad = random(*out.data.shape, seed=3)
    backward(total(out * Node(grad), tuple(range(grad.ndim))))
    leaves = [t.clone().requires_grad_() for t in inputs]
    expected = theirs(*leaves)
    close(out.data, expected.detach())
    for node, share in zip(nodes, torch.autograd.grad(expected, leaves, grad), strict=True):
        close(node.grad, share)


@pytest.mark.parametrize(("ours", "theirs"), BINARY.values(), ids=BINARY)
@pytest.mark.parametrize("shapes", [((4, 3), (4, 3)), ((4, 3), (3,)), ((1, 3), (4, 1)), ((2,), ())])
def test_two_nodes_of_any_shapes_that_broadcast(ours, theirs, shapes):
    agrees(ours, theirs, random(*shapes[0], seed=1), random(*shapes[1], seed=2))


@pytest.mark.parametrize(("ours", "theirs"), UNARY.values(), ids=UNARY)
def test_one_node(ours, theirs):
    agrees(ours, theirs, random(4, 3))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (4, 1), (4, 3), (1, 4, 3)])
def test_unbroadcast(shape):
    grad = random(4, 3) if len(shape) < 3 else random(1, 4, 3)
    close(unbroadcast(grad, torch.Size(shape)), grad.sum_to_size(shape))


def test_order_has_each_node_once_and_after_its_inputs():
    a, b = Node(torch.tensor(1.0)), Node(torch.tensor(2.0))
    c = a * b
    order = topological_order((c + a) * (c + b) + c)
    assert len(order) == len(set(order)) == 7
    for i, node in enumerate(order):
        assert all(each in order[:i] for each in node.inputs)


def test_order_asks_each_node_once():
    "Else the time would double with each `a + a`."
    asked = []

    class Noted(tuple):
        def __iter__(self):
            asked.append(self)
            return super().__iter__()

    a = Node(torch.ones(1))
    a.inputs = Noted()
    for _ in range(3):
        a = a + a
        a.inputs = Noted(a.inputs)
    topological_order(a)
    assert len(asked) == 4


def test_leaves_add_up_over_calls_as_torch_s_do():
    a = Node(torch.tensor(3.0))
    for _ in range(2):
        backward(a * a)
    assert a.grad == 12


def test_each_leaf_has_a_gradient_of_its_own():
    a, b = Node(torch.ones(3)), Node(torch.ones(3))
    backward(total(a + b, (0,)))
    a.grad.mul_(10)
    assert b.grad.tolist() == [1, 1, 1]


def test_backward_begins_at_one_number():
    with pytest.raises(ValueError, match=r"one number, got shape \[2\]"):
        backward(Node(torch.ones(2)))


def test_it_stays_under_a_hundred_lines():
    parts = (Node, relu, exp, log, total, pick, unbroadcast, topological_order, backward)
    assert sum(len(inspect.getsource(part).splitlines()) for part in parts) < 100
    assert all(part.__module__ == gradients.__name__ for part in parts)
